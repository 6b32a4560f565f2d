//! The scenarios that take seconds. The others are for `cargo xtask model`.

use lock_model::{Verdict, scenarios};

/// More than any of these has.
const STATES: usize = 2_000_000;

#[test]
fn every_short_scenario_holds() {
    for scenario in scenarios().iter().filter(|scenario| !scenario.is_long()) {
        let report = scenario.explore(STATES, |_| {});
        if let Verdict::Fails { what, history } = report.verdict {
            panic!("{}: {what}\n{}", scenario.name, history.join("\n"));
        }
        assert_eq!(report.verdict, Verdict::Holds, "{}", scenario.name);
        assert!(report.ends > 0 && (scenario.most_deaths() == 0 || report.deaths > 0), "{}: {report:?}", scenario.name);
    }
}

//! The scenarios that take a few seconds. `cargo xtask model` runs all.

use lock_model::{Verdict, scenarios};

/// Upper bound of the number of states of a short scenario.
const STATES: usize = 3_000_000;

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

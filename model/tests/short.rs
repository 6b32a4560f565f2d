//! The scenarios that take seconds. The others are for `cargo xtask model`.

use lock_model::{PLANTED, Verdict, planted, scenarios};

/// More than any of these has.
const STATES: usize = 2_000_000;

#[test]
fn whatever_the_order_of_steps_and_wherever_threads_die_the_promises_are_kept() {
    for scenario in scenarios().iter().filter(|scenario| !scenario.is_long()) {
        let report = scenario.explore(STATES, |_| {});
        if let Verdict::Fails { what, history } = report.verdict {
            panic!("{}: {what}\n{}", scenario.name, history.join("\n"));
        }
        assert_eq!(report.verdict, Verdict::Holds, "{}", scenario.name);
        assert!(report.ends > 0 && (scenario.most_deaths() == 0 || report.deaths > 0), "{}: {report:?}", scenario.name);
    }
}

#[test]
fn each_planted_bug_is_found_and_its_history_is_told() {
    let scenarios = scenarios();
    for bug in PLANTED {
        let scenario = scenarios.iter().find(|scenario| scenario.name == bug.found_by).expect(bug.found_by);
        let report = planted(bug, || scenario.explore(STATES, |_| {}));
        match report.verdict {
            Verdict::Fails { history, .. } => assert!(!history.is_empty(), "{}", bug.name),
            verdict => panic!("{} is not found by {}: {verdict:?}, {} states", bug.name, bug.found_by, report.states),
        }
    }
}

//! Tests the suite itself with backends that are wrong on purpose.
//!
//! The case that is named for the broken promise must catch each wrong backend.
//!
//! A wrong backend is the honest reference backend with one fault. The test also runs the case on an honest backend, which must pass.
//! The case therefore fails because of the fault. If a fault makes a thread hang, the watchdog catches it. Its limit is shorter here.
//!
//! Some wrong backends have a rare variant with the fault in one of 50 operations. The case must catch it in two of three runs, and in
//! all of ten with `--ignored`.
//!
//! At the end, the test prints a table of the faults and of the cases that caught them.

mod reference;
#[path = "rogues/mod.rs"]
mod rogues;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Arguments;
use lock_conformance::{Failure, Suite, Trial, peer_if_asked, run_case, run_trials, trials};
use rogues::{Faulty, table};

/// The watchdog limit for faults that make a thread hang. All other faults keep the suite's limit, for slow machines.
const SHORT_WATCHDOG: Duration = Duration::from_secs(4);

/// The first word of each failure message of the watchdog.
const HANGS: &str = "watchdog";

/// Runs of a case against a rare variant. The case may miss one of them, because a busy machine hides some faults.
const SOME_RUNS: Runs = Runs { number: 3, may_miss: 1 };
/// The same with `--ignored`. The case must catch the variant in each run.
const MANY_RUNS: Runs = Runs { number: 10, may_miss: 0 };
const ONE_RUN: Runs = Runs { number: 1, may_miss: 0 };

/// A number of consecutive runs, and the number of runs in which the case may miss the fault.
#[derive(Clone, Copy)]
struct Runs {
    number: u32,
    may_miss: u32,
}

fn main() -> ExitCode {
    let honest: Vec<_> = reference::suites().into_iter().map(Arc::new).collect();
    let faulty = rogues::all();
    let faulty_suites = faulty.iter().map(|wrong| Arc::new(suite_of(wrong)));
    let all_suites: Vec<_> = honest.iter().cloned().chain(faulty_suites).collect();
    peer_if_asked(&all_suites);
    let catches = faulty.iter().flat_map(|wrong| wrong.caught_by.iter().map(move |(case, words)| (wrong, *case, *words)));
    let catches = catches.enumerate().map(|(place, (wrong, case, words))| Catch::new(place, wrong, case, words, &honest));
    let caught = catches.flat_map(Catch::trials);
    let by_no_other = faulty.iter().filter(|wrong| wrong.caught_by_no_other).map(trial_of_others);
    let done = run_trials(caught.chain(by_no_other).collect());
    let arguments = Arguments::from_args();
    if !arguments.list && !arguments.exact {
        table::print();
    }
    done
}

/// Returns the name of the backend's suite.
fn name_of(wrong: &Faulty) -> String {
    let name = wrong.backend.scheme();
    if wrong.is_rare { format!("rarely-{name}") } else { name.to_owned() }
}

fn suite_of(wrong: &Faulty) -> Suite {
    let suite = Suite::new(wrong.backend, |scratch| format!("reference:{}/store", scratch.display())).named(name_of(wrong));
    // A backend that is derived from the modest one has no URL options.
    if wrong.backend.capabilities() == reference::modest::BACKEND.capabilities() {
        return suite;
    }
    suite
        .files(|scratch, _url| vec![scratch.join("store/header")])
        .shared_between_users("mode=0666&owner=any")
        .shared_in_group(|group| format!("mode=0660&group={group}"))
}

/// A wrong backend, and a case that must catch it with a given failure message.
#[derive(Clone)]
struct Catch {
    /// The position in the table.
    place: usize,
    suite: Arc<Suite>,
    fault: String,
    is_rare: bool,
    case: &'static str,
    words: &'static str,
    /// An honest backend that runs the case.
    ///
    /// `None` if only wrong backends claim the capability. The tests of lock-shm run such cases on an honest backend.
    honest: Option<Arc<Suite>>,
}

impl Catch {
    fn new(place: usize, wrong: &Faulty, case: &'static str, words: &'static str, honest: &[Arc<Suite>]) -> Self {
        let suite = suite_of(wrong);
        let suite = Arc::new(if words.starts_with(HANGS) { suite.watchdog(SHORT_WATCHDOG) } else { suite });
        let honest = honest.iter().find(|honest| find(honest, case).is_some_and(|trial| !trial.is_skipped())).cloned();
        let fault = if wrong.is_rare { format!("{}, once in 50 operations", wrong.fault) } else { wrong.fault.to_owned() };
        Self { place, suite, fault, is_rare: wrong.is_rare, case, words, honest }
    }

    fn trials(self) -> Vec<Trial> {
        // A machine that cannot run the case skips the trial.
        let skipped = find(&self.suite, self.case).and_then(|trial| trial.skip_reason().map(str::to_owned));
        let (name, case) = (self.suite.name().to_owned(), self.case);
        let many = self.clone();
        let trials = if self.is_rare {
            let many = Trial::test(format!("{name}::is_caught_ten_times_by::{case}"), move || many.is_caught(MANY_RUNS));
            vec![
                Trial::test(format!("{name}::is_caught_by::{case}"), move || self.is_caught(SOME_RUNS)),
                many.skipped("takes long"),
            ]
        } else {
            vec![Trial::test(format!("{name}::is_caught_by::{case}"), move || self.is_caught(ONE_RUN))]
        };
        let skip = |trial: Trial| match &skipped {
            Some(reason) => trial.skipped(reason),
            None => trial,
        };
        trials.into_iter().map(skip).collect()
    }

    /// Checks that an honest backend passes the case, and that the case catches the wrong one in these runs.
    fn is_caught(&self, runs: Runs) -> Result<(), String> {
        if let Some(honest) = &self.honest {
            let passes = run_case(honest, self.case);
            passes.map_err(|failure| format!("the honest backend {} fails {}: {failure}", honest.name(), self.case))?;
        }
        let mut missed = 0;
        for run in 1..=runs.number {
            match run_case(&self.suite, self.case) {
                Ok(()) if missed < runs.may_miss => missed += 1,
                Ok(()) => {
                    let others = self.others();
                    let others = if others.is_empty() { "no other case of its group".to_owned() } else { others.join(", ") };
                    self.add_to_table(format!("not the named case; caught by {others}"));
                    let when = if self.is_rare { format!(" in run {run} of {}", runs.number) } else { String::new() };
                    return Err(format!("{:?} is not caught by {}{when}; caught by {others}", self.fault, self.case));
                }
                Err(failure) if failure.message().contains(self.words) => {}
                Err(failure) => {
                    self.add_to_table("the named case, with another message".to_owned());
                    return Err(format!("the failure message does not contain {:?}: {failure}", self.words));
                }
            }
        }
        let all = if self.is_rare { format!(", {} of {} runs", runs.number - missed, runs.number) } else { String::new() };
        self.add_to_table(format!("the named case{all}"));
        Ok(())
    }

    fn add_to_table(&self, caught_by: String) {
        table::add(self.place, table::Row { fault: self.fault.clone(), case: self.case, caught_by });
    }

    /// Returns the other cases of the group that catch the backend.
    fn others(&self) -> Vec<String> {
        let group = self.case.split("::").next().unwrap_or(self.case);
        failures_of(&self.suite, |case| case != self.case && case.split("::").next() == Some(group))
            .into_iter()
            .map(|(case, _)| case)
            .collect()
    }
}

/// Checks that the wrong backend passes all other cases, so that the named case is necessary. Runs with `--ignored`.
fn trial_of_others(wrong: &Faulty) -> Trial {
    let (suite, caught_by) = (Arc::new(suite_of(wrong)), wrong.caught_by);
    let trial = Trial::test(format!("{}::is_caught_by_no_other", suite.name()), move || {
        let failures = failures_of(&suite, |case| !caught_by.iter().any(|(caught_by, _)| *caught_by == case));
        let failures = failures.iter().map(|(case, failure)| format!("caught by {case}: {}", failure.message()));
        let failures: Vec<_> = failures.collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    });
    trial.skipped("takes a minute")
}

/// Runs the cases that `is_wanted` selects, and returns those that fail.
fn failures_of(suite: &Arc<Suite>, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, Failure)> {
    let prefix = format!("{}::", suite.name());
    let all = trials(suite);
    let cases = all.iter().filter(|trial| !trial.is_skipped()).filter_map(|trial| trial.name().strip_prefix(&prefix));
    cases.filter(|case| is_wanted(case)).filter_map(|case| Some((case.to_owned(), run_case(suite, case).err()?))).collect()
}

fn find(suite: &Arc<Suite>, case: &str) -> Option<Trial> {
    let name = format!("{}::{case}", suite.name());
    trials(suite).into_iter().find(|trial| trial.name() == name)
}

//! The suite's own test: backends that are wrong on purpose, each caught by the case that is named for the promise it breaks.
//!
//! Each wrong backend is the honest reference backend with one fault. The honest one passes the same case, so that the case catches the
//! fault and nothing else. Where a fault makes a thread hang, the watchdog catches it, which is shorter for wrong backends.
//!
//! Some have a sibling that is wrong once in 50 operations. The case has to catch it each time: three times in a row, and ten times with
//! `--ignored`.
//!
//! At its end, the test prints a table of the faults and of the cases that caught them.

mod reference;
#[path = "rogues/mod.rs"]
mod rogues;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed};
use lock_conformance::{Failure, Suite, Trial, peer_if_asked, run_case, run_trials, trials};
use rogues::{Faulty, table};

/// How long a backend may hang whose fault is that it hangs. Others are caught sooner, and a slow machine has its time.
const SHORT_WATCHDOG: Duration = Duration::from_secs(4);

/// What a failure by the watchdog says.
const HANGS: &str = "watchdog";

/// How often a case has to catch a backend that is wrong rarely, and how often with `--ignored`.
const SOME_TIMES: u32 = 3;
const MANY_TIMES: u32 = 10;

fn main() -> ExitCode {
    let honest: Vec<_> = reference::suites().into_iter().map(Arc::new).collect();
    let faulty = rogues::all();
    let rogues = faulty.iter().map(|wrong| Arc::new(suite_of(wrong)));
    let everybody: Vec<_> = honest.iter().cloned().chain(rogues).collect();
    peer_if_asked(&everybody);
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

/// The name of its suite.
fn name_of(wrong: &Faulty) -> String {
    let name = wrong.backend.scheme();
    if wrong.is_rare { format!("rarely-{name}") } else { name.to_owned() }
}

fn suite_of(wrong: &Faulty) -> Suite {
    let suite = Suite::new(wrong.backend, |scratch| format!("reference:{}/store", scratch.display())).named(name_of(wrong));
    // A backend that is made from the modest one has no options.
    if wrong.backend.capabilities() == reference::modest::BACKEND.capabilities() {
        return suite;
    }
    suite
        .files(|scratch, _url| vec![scratch.join("store/header")])
        .shared_between_users("mode=0666&owner=any")
        .shared_in_group(|group| format!("mode=0660&group={group}"))
}

/// A case that has to catch a wrong backend, with these words.
#[derive(Clone)]
struct Catch {
    /// The place in the table.
    place: usize,
    suite: Arc<Suite>,
    fault: String,
    is_rare: bool,
    case: &'static str,
    words: &'static str,
    /// A simple backend that passes the case. There is none for what only wrong backends claim; lock-shm passes that in its own tests.
    honest: Option<Arc<Suite>>,
}

impl Catch {
    fn new(place: usize, wrong: &Faulty, case: &'static str, words: &'static str, honest: &[Arc<Suite>]) -> Self {
        let suite = suite_of(wrong);
        let suite = Arc::new(if words == HANGS { suite.watchdog(SHORT_WATCHDOG) } else { suite });
        let honest = honest.iter().find(|honest| find(honest, case).is_some_and(|trial| !trial.has_ignored_flag())).cloned();
        let fault = if wrong.is_rare { format!("{}, once in 50 operations", wrong.fault) } else { wrong.fault.to_owned() };
        Self { place, suite, fault, is_rare: wrong.is_rare, case, words, honest }
    }

    fn trials(self) -> Vec<Trial> {
        // Where this machine cannot run the case, it catches nothing.
        let skipped = find(&self.suite, self.case).filter(Trial::has_ignored_flag).map(|trial| trial.kind().to_owned());
        let (name, case) = (self.suite.name().to_owned(), self.case);
        let many = self.clone();
        let trials = if self.is_rare {
            let many = Trial::test(format!("{name}::is_caught_ten_times_by::{case}"), move || many.is_caught(MANY_TIMES));
            vec![
                Trial::test(format!("{name}::is_caught_each_time_by::{case}"), move || self.is_caught(SOME_TIMES)),
                many.with_kind("takes long").with_ignored_flag(true),
            ]
        } else {
            vec![Trial::test(format!("{name}::is_caught_by::{case}"), move || self.is_caught(1))]
        };
        let skip = |trial: Trial| match &skipped {
            Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
            None => trial,
        };
        trials.into_iter().map(skip).collect()
    }

    /// Asserts that an honest backend passes the case, and that the case catches the wrong one so many times in a row.
    fn is_caught(&self, times: u32) -> Result<(), Failed> {
        if let Some(honest) = &self.honest {
            let passes = run_case(honest, self.case);
            passes.map_err(|failure| format!("{} is honest, and fails {}: {failure}", honest.name(), self.case))?;
        }
        for time in 1..=times {
            match run_case(&self.suite, self.case) {
                Ok(()) => {
                    let others = self.others();
                    let others = if others.is_empty() { "no other case of its group".to_owned() } else { others.join(", ") };
                    self.add_to_table(format!("not its case, but {others}"));
                    let when = if self.is_rare { format!(" at the attempt {time} of {times}") } else { String::new() };
                    return Err(format!("{:?} is not caught by {}{when}, but by {others}", self.fault, self.case).into());
                }
                Err(failure) if failure.message().contains(self.words) => {}
                Err(failure) => {
                    self.add_to_table("its case, for another reason".to_owned());
                    return Err(format!("it is caught, but not for {:?}: {failure}", self.words).into());
                }
            }
        }
        let all = if self.is_rare { format!(", {times} of {times} times") } else { String::new() };
        self.add_to_table(format!("its case{all}"));
        Ok(())
    }

    fn add_to_table(&self, caught_by: String) {
        table::add(self.place, table::Row { fault: self.fault.clone(), case: self.case, caught_by });
    }

    /// The other cases of the group that catch the backend.
    fn others(&self) -> Vec<String> {
        let group = self.case.split("::").next().unwrap_or(self.case);
        failures_of(&self.suite, |case| case != self.case && case.split("::").next() == Some(group))
            .into_iter()
            .map(|(case, _)| case)
            .collect()
    }
}

/// Asserts that the wrong backend passes all other cases, so that its own case is necessary. Runs with `--ignored`.
fn trial_of_others(wrong: &Faulty) -> Trial {
    let (suite, caught_by) = (Arc::new(suite_of(wrong)), wrong.caught_by);
    let trial = Trial::test(format!("{}::is_caught_by_no_other", suite.name()), move || {
        let failures = failures_of(&suite, |case| !caught_by.iter().any(|(caught_by, _)| *caught_by == case));
        let failures = failures.iter().map(|(case, failure)| format!("it is caught by {case}: {}", failure.message()));
        let failures: Vec<_> = failures.collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
    });
    trial.with_kind("takes a minute").with_ignored_flag(true)
}

/// Runs these cases of the suite. Returns those that fail.
fn failures_of(suite: &Arc<Suite>, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, Failure)> {
    let prefix = format!("{}::", suite.name());
    let all = trials(suite);
    let cases = all.iter().filter(|trial| !trial.has_ignored_flag()).filter_map(|trial| trial.name().strip_prefix(&prefix));
    cases.filter(|case| is_wanted(case)).filter_map(|case| Some((case.to_owned(), run_case(suite, case).err()?))).collect()
}

fn find(suite: &Arc<Suite>, case: &str) -> Option<Trial> {
    let name = format!("{}::{case}", suite.name());
    trials(suite).into_iter().find(|trial| trial.name() == name)
}

//! The suite's own test: backends that are wrong on purpose, each caught by the case that is named for it.
//!
//! Every rogue is the honest reference backend with one sin. An honest one passes the same case, so that it is the sin that
//! is caught. A rogue that makes somebody wait for ever is caught by the watchdog, which is shorter for all rogues.

mod reference;
#[path = "rogues/mod.rs"]
mod rogues;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lock_conformance::{Suite, Trial, peer_if_asked, run_case, run_trials, trials};
use lock_core::Backend;

/// How long a rogue may hang, where hanging is what gives it away. Elsewhere it is caught sooner, and a slow machine has its time.
const SHORT_WATCHDOG: Duration = Duration::from_secs(4);

/// What a failure by the watchdog says.
const HANGS: &str = "watchdog";

fn main() -> ExitCode {
    let honest: Vec<_> = reference::suites().into_iter().map(Arc::new).collect();
    let sinners = rogues::all();
    let rogues = sinners.iter().map(|sinner| Arc::new(suite_of(sinner.backend)));
    let everybody: Vec<_> = honest.iter().cloned().chain(rogues).collect();
    peer_if_asked(&everybody);
    let caught = sinners.iter().flat_map(|sinner| sinner.caught_by.iter().map(|catch| trial(sinner.backend, *catch, &honest)));
    let by_no_other = sinners.iter().filter(|sinner| sinner.caught_by_no_other).map(trial_of_others);
    run_trials(caught.chain(by_no_other).collect())
}

fn suite_of(rogue: Backend) -> Suite {
    Suite::new(rogue, |scratch| format!("reference:{}/store", scratch.display()))
        .files(|scratch, _url| vec![scratch.join("store/header")])
        .shared_between_users("mode=0666&owner=any")
        .shared_in_group(|group| format!("mode=0660&group={group}"))
}

/// The case has to catch the rogue, with these words.
fn trial(rogue: Backend, (case, words): (&'static str, &'static str), honest: &[Arc<Suite>]) -> Trial {
    let suite = suite_of(rogue);
    let suite = Arc::new(if words == HANGS { suite.watchdog(SHORT_WATCHDOG) } else { suite });
    let name = format!("{}::is_caught_by::{case}", rogue.scheme());
    // Where this machine cannot run the case, nobody is caught.
    let skipped = find(&suite, case).filter(Trial::has_ignored_flag).map(|trial| trial.kind().to_owned());
    // What only a rogue claims, no simple backend is there to pass; lock-shm passes it in its own tests.
    let honest = honest.iter().find(|honest| find(honest, case).is_some_and(|trial| !trial.has_ignored_flag())).cloned();
    let trial = Trial::test(name, move || {
        if let Some(honest) = honest {
            run_case(&honest, case).map_err(|failure| format!("{} is honest, and fails {case}: {failure}", honest.name()))?;
        }
        match run_case(&suite, case) {
            Ok(()) => Err(format!("{} passes {case}", suite.name()).into()),
            Err(failure) if failure.message().contains(words) => Ok(()),
            Err(failure) => Err(format!("it is caught, but not for {words:?}: {failure}").into()),
        }
    });
    match skipped {
        Some(reason) => trial.with_kind(reason).with_ignored_flag(true),
        None => trial,
    }
}

/// Asserts that the wrong backend passes all other cases, so that its own case is necessary. Runs with `--ignored`.
fn trial_of_others(sinner: &rogues::Sinner) -> Trial {
    let (suite, caught_by) = (Arc::new(suite_of(sinner.backend)), sinner.caught_by);
    let trial = Trial::test(format!("{}::is_caught_by_no_other", suite.name()), move || {
        let prefix = format!("{}::", suite.name());
        let all = trials(&suite);
        let others = all.iter().filter(|trial| !trial.has_ignored_flag()).filter_map(|trial| trial.name().strip_prefix(&prefix));
        let failures = others
            .filter(|case| !caught_by.iter().any(|(caught_by, _)| caught_by == case))
            .filter_map(|case| Some(format!("it is caught by {case}: {}", run_case(&suite, case).err()?.message())));
        let failures: Vec<_> = failures.collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
    });
    trial.with_kind("takes a minute").with_ignored_flag(true)
}

fn find(suite: &Arc<Suite>, case: &str) -> Option<Trial> {
    let name = format!("{}::{case}", suite.name());
    trials(suite).into_iter().find(|trial| trial.name() == name)
}

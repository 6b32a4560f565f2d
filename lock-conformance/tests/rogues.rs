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
    let trials = sinners.iter().flat_map(|sinner| sinner.caught_by.iter().map(|catch| trial(sinner.backend, *catch, &honest)));
    run_trials(trials.collect())
}

fn suite_of(rogue: Backend) -> Suite {
    Suite::new(rogue, |scratch| format!("reference:{}/store", scratch.display()))
        .files(|scratch, _url| vec![scratch.join("store/header")])
        .shared_between_users("mode=0666")
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

fn find(suite: &Arc<Suite>, case: &str) -> Option<Trial> {
    let name = format!("{}::{case}", suite.name());
    trials(suite).into_iter().find(|trial| trial.name() == name)
}

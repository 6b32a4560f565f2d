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
    let trials2 = sinners.iter().flat_map(|sinner| sinner.caught_by.iter().map(|catch| trial(sinner.backend, *catch, &honest)));
    if std::env::var_os("UNIQUE").is_some() {
        let mut all = vec![];
        let new = [
            "forgets-after-five",
            "is-silent",
            "forgets-",
            "names-the-first-death",
            "takes-the-second",
            "reports-",
            "repeats-",
            "frees-the-report",
            "wakes-nobody-after",
            "takes-panics",
            "keeps-panics",
            "counts-",
            "prefers-",
            "takes-processes",
            "takes-exec",
            "takes-threads",
            "loses-owners",
        ];
        for sinner in sinners.into_iter().filter(|s| new.iter().any(|n| s.backend.scheme().starts_with(n))) {
            all.push(Trial::test(sinner.backend.scheme(), move || {
                let suite = Arc::new(suite_of(sinner.backend).watchdog(Duration::from_secs(15)));
                let prefix = format!("{}::", suite.name());
                let mut out = vec![];
                for t in lock_conformance::trials(&suite).iter().filter(|t| !t.has_ignored_flag()) {
                    let case = t.name().strip_prefix(&prefix).unwrap().to_owned();
                    if sinner.caught_by.iter().any(|(c, _)| *c == case) {
                        continue;
                    }
                    if let Err(f) = run_case(&suite, &case) {
                        out.push(format!("ALSO {case}: {}", f.message()));
                    }
                }
                if out.is_empty() { Ok(()) } else { Err(out.join("\n").into()) }
            }));
        }
        return run_trials(all);
    }
    run_trials(trials2.collect())
}

fn suite_of(rogue: Backend) -> Suite {
    Suite::new(rogue, |scratch| format!("reference:{}/store", scratch.display()))
        .files(|scratch, _url| vec![scratch.join("store/header")])
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

//! `demo`: for each backend, several processes increment a counter in a file under one lock, and are killed in the critical section.
//!
//! The final count has to be exact; [`audit_log`] explains how. The [`cleanup`](mod@cleanup) process removes all files when the demo ends
//! or is killed.

mod audit_log;
mod cleanup;
mod contention;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lock_any::{Backend, Exclusion, OwnerDeath, Sharing};

use crate::cli::{DemoArgs, StoreArgs};
use crate::exit::{ExitStatus, Failure};
use crate::output::{self, Rows};

use cleanup::Cleanup;
use contention::{Contention, Outcome};

pub(crate) use cleanup::cleanup;
pub(crate) use worker::worker;

/// Time for all backends together. Setup and cleanup take less than a second.
const TIME: Duration = Duration::from_secs(6);
/// Maximum time for one backend.
const TIME_PER_BACKEND: Duration = Duration::from_millis(2500);
/// Time for a backend whose locks last as long as a session: several sessions end in it.
const TIME_AT_SERVER: Duration = Duration::from_secs(10);

pub(crate) fn demo(store: &StoreArgs, args: &DemoArgs) -> Result<ExitCode, Failure> {
    let backends = lock_any::backends()?;
    let mut skipped = Vec::new();
    let mut shared = Vec::new();
    for backend in backends {
        let claims = backend.capabilities();
        if claims.sharing != Sharing::Processes {
            skipped.push((backend.scheme(), "it is not shared between processes".to_owned()));
        } else if claims.exclusion == Exclusion::ReadOnly {
            skipped.push((backend.scheme(), "it only lists the locks of another program".to_owned()));
        } else {
            shared.push(backend);
        }
    }
    if shared.is_empty() {
        return Err(Failure::new(
            ExitStatus::NOT_LINKED,
            "no backend for several processes is linked; build lockctl with one of the features shm, file, sem",
        ));
    }

    let mut cleanup = Cleanup::start(args)?;
    let server = store.stores.first().map(|url| url.parse()).transpose()?;
    let is_local = |backend: &Backend| backend.capabilities().exclusion == Exclusion::Always;
    let local = shared.iter().filter(|backend| is_local(backend)).count() as u32;
    let local_time = TIME_PER_BACKEND.min(TIME / local.max(1));
    let time = |backend: &Backend| if is_local(backend) { local_time } else { TIME_AT_SERVER };
    let bar = ProgressBar::new(u64::from(local) * local_time.as_millis() as u64);
    bar.set_style(
        ProgressStyle::with_template("{msg:12} {wide_bar} {percent:>3}%").unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut outcomes = Vec::new();
    for backend in shared {
        bar.set_message(backend.scheme());
        match Contention::prepare(&backend, server.as_ref(), &mut cleanup)? {
            Ok(contention) => {
                if !is_local(&backend) {
                    bar.inc_length(TIME_AT_SERVER.as_millis() as u64);
                }
                outcomes.push((backend, contention.run(time(&backend), &bar)?));
            }
            Err(reason) => skipped.push((backend.scheme(), reason)),
        }
    }
    bar.finish_and_clear();
    cleanup.finish();
    report(&outcomes, &skipped)
}

fn report(outcomes: &[(Backend, Outcome)], skipped: &[(&str, String)]) -> Result<ExitCode, Failure> {
    let titles =
        ["BACKEND", "PROCESSES", "SECTIONS", "EXPECTED", "FOUND", "KILLED INSIDE", "RECOVERED", "NS PER LOCK", "VERDICT"];
    let mut rows = Rows::new(&titles).right(&[1, 2, 3, 4, 5, 6, 7]);
    for (backend, outcome) in outcomes {
        let recovered = match backend.capabilities().owner_death {
            OwnerDeath::Reported => outcome.recovered.to_string(),
            OwnerDeath::Released => "not reported".to_owned(),
            _ => "no kills: stuck".to_owned(),
        };
        rows.push([
            backend.scheme(),
            &outcome.processes.to_string(),
            &outcome.sections.to_string(),
            &outcome.expected.to_string(),
            &outcome.found.to_string(),
            &outcome.killed.to_string(),
            &recovered,
            &outcome.ns_per_lock.to_string(),
            if outcome.violations.is_empty() { "ok" } else { "VIOLATED" },
        ]);
    }
    rows.print()?;
    for (scheme, reason) in skipped {
        output::print(format!("{scheme}: skipped: {}\n", output::escaped(reason)))?;
    }
    let violations: Vec<_> =
        outcomes.iter().flat_map(|(backend, outcome)| outcome.violations.iter().map(|text| (backend.scheme(), text))).collect();
    for (scheme, violation) in &violations {
        output::message(format_args!("{scheme}: {violation}"));
    }
    match (outcomes.is_empty(), violations.is_empty()) {
        (true, _) => {
            Err(Failure::new(ExitStatus::UNAVAILABLE, "no linked backend can run the demo; use one whose URLs have a path"))
        }
        (_, true) => Ok(ExitCode::SUCCESS),
        (_, false) => Ok(ExitStatus::INTERNAL.into()),
    }
}

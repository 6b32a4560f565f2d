//! A worker process of the demo: it runs sections until it is killed in one of them.
//!
//! It writes an event per line to stdout. A written line is not lost when the worker is killed.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use lock_any::{Deadline, Deadlines, OwnerDeath};
use nix::time::{ClockId, clock_gettime};

use crate::cli::WorkerArgs;
use crate::exit::{ExitStatus, Failure};

use super::audit_log::AuditLog;

/// An event of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// The guard had a report of a death.
    Recovered,
    /// The worker is in a section and waits for the kill. It has finished this many sections.
    Inside(u64),
    /// The worker ends. It has finished this many sections.
    Done(u64),
    /// Another section ran during a section of this worker.
    Overlap,
    /// A section was unfinished, and the guard had no report of a death.
    Unreported,
}

impl Event {
    fn send(self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match self {
            Self::Recovered => writeln!(stdout, "recovered"),
            Self::Inside(sections) => writeln!(stdout, "inside {sections}"),
            Self::Done(sections) => writeln!(stdout, "done {sections}"),
            Self::Overlap => writeln!(stdout, "overlap"),
            Self::Unreported => writeln!(stdout, "unreported"),
        }?;
        stdout.flush()
    }

    /// Parses a line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "recovered" => Some(Self::Recovered),
            "inside" => number.parse().ok().map(Self::Inside),
            "done" => number.parse().ok().map(Self::Done),
            "overlap" => Some(Self::Overlap),
            "unreported" => Some(Self::Unreported),
            _ => None,
        }
    }
}

pub(crate) fn worker(args: &WorkerArgs) -> Result<(), Failure> {
    let store = lock_any::open(&args.url)?;
    let lock = store.retrieve(args.id)?;
    let files = |error: io::Error| Failure::of_call("cannot use the demo's files", error, ExitStatus::SYSTEM);
    let log = AuditLog::open(&args.files).map_err(files)?;
    let claims = store.capabilities();
    let until = Duration::from_nanos(args.until);
    let deadline = match claims.deadlines {
        Deadlines::Monotonic => Deadline::after((until + Duration::from_secs(8)).saturating_sub(now())),
        _ => Deadline::Never,
    };
    let born = Instant::now();
    let mut sections = 0;
    loop {
        let mut guard = lock.lock_by(deadline)?;
        let reported = guard.recovered().is_some();
        if reported {
            Event::Recovered.send()?;
        }
        let unfinished = log.finish().map_err(files)?;
        if unfinished && !reported && claims.owner_death != OwnerDeath::Released {
            Event::Unreported.send()?;
        }
        // The unfinished section is finished, so the next owner needs no report of this death.
        guard.mark_consistent()?;
        // Workers stop at different steps.
        let last = args.life.is_some_and(|life| born.elapsed().as_millis() >= u128::from(life)).then(|| std::process::id() % 4);
        let alone = log.section(args.slot, |step| {
            if Some(step) == last {
                await_kill(sections);
            }
        });
        if !alone.map_err(files)? {
            Event::Overlap.send()?;
        }
        sections += 1;
        guard.unlock()?;
        // On a busy machine a worker may begin after the end. It finishes a section nevertheless, and one with a life waits for its kill.
        if args.life.is_none() && now() >= until {
            return Ok(Event::Done(sections).send()?);
        }
    }
}

/// Sends the event, and waits for the kill.
fn await_kill(sections: u64) {
    while Event::Inside(sections).send().is_ok() {
        nix::unistd::pause();
    }
}

/// Returns the time of the monotonic clock, which all processes share.
pub(super) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::MAX, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_line_is_no_event() {
        assert_eq!(Event::parse("inside 12"), Some(Event::Inside(12)));
        for line in ["", "inside", "inside x", "done -1", "recover"] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}

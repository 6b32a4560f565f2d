//! A process of the demo: it goes through sections, and one of them is its last.
//!
//! It tells the demo, line by line on stdout, what happens: a line that is written survives its writer.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use lock_any::{Deadline, Deadlines, OwnerDeath};
use nix::time::{ClockId, clock_gettime};

use crate::cli::WorkerArgs;
use crate::exit::{ExitStatus, Failure};

use super::ledger::Ledger;

/// What a worker says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// The previous owner died, says the lock.
    Recovered,
    /// I am inside a section, after so many that I went through: kill me.
    Inside(u64),
    /// I have been through so many sections, and the time is up.
    Done(u64),
    /// Somebody else was in my section.
    NotAlone,
    /// A section was left under way, and the lock did not say so.
    Untold,
}

impl Event {
    fn tell(self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match self {
            Self::Recovered => writeln!(stdout, "recovered"),
            Self::Inside(sections) => writeln!(stdout, "inside {sections}"),
            Self::Done(sections) => writeln!(stdout, "done {sections}"),
            Self::NotAlone => writeln!(stdout, "not-alone"),
            Self::Untold => writeln!(stdout, "untold"),
        }?;
        stdout.flush()
    }

    /// What a line says.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "recovered" => Some(Self::Recovered),
            "inside" => number.parse().ok().map(Self::Inside),
            "done" => number.parse().ok().map(Self::Done),
            "not-alone" => Some(Self::NotAlone),
            "untold" => Some(Self::Untold),
            _ => None,
        }
    }
}

pub(crate) fn worker(args: &WorkerArgs) -> Result<(), Failure> {
    let store = lock_any::open(&args.url)?;
    let lock = match args.id {
        Some(id) => store.retrieve(id)?,
        None => store.single()?,
    };
    let files = |error: io::Error| Failure::of_call("cannot use the demo's files", error, ExitStatus::SYSTEM);
    let ledger = Ledger::open(&args.files).map_err(files)?;
    let claims = store.capabilities();
    let until = Duration::from_nanos(args.until);
    let deadline = match claims.deadlines {
        Deadlines::Monotonic => Deadline::after((until + Duration::from_secs(8)).saturating_sub(now())),
        _ => Deadline::Never,
    };
    let born = Instant::now();
    let mut sections = 0;
    while now() < until {
        let mut guard = lock.lock_by(deadline)?;
        let told = guard.recovered().is_some();
        if told {
            Event::Recovered.tell()?;
        }
        let left = ledger.finish().map_err(files)?;
        if left && !told && claims.owner_death != OwnerDeath::Released {
            Event::Untold.tell()?;
        }
        // The section that was left is finished: the next owner is told of the next death.
        guard.mark_consistent()?;
        // Which step is the last differs from worker to worker.
        let last = args.life.is_some_and(|life| born.elapsed().as_millis() >= u128::from(life)).then(|| std::process::id() % 4);
        let alone = ledger.section(args.slot, |step| {
            if Some(step) == last {
                await_death(sections);
            }
        });
        if !alone.map_err(files)? {
            Event::NotAlone.tell()?;
        }
        sections += 1;
        guard.unlock()?;
    }
    Ok(Event::Done(sections).tell()?)
}

/// Says where it is, and waits for the kill.
fn await_death(sections: u64) {
    while Event::Inside(sections).tell().is_ok() {
        nix::unistd::pause();
    }
}

/// The monotonic clock, which all processes share.
pub(super) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::MAX, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_event_is_not_taken_for_one() {
        assert_eq!(Event::parse("inside 12"), Some(Event::Inside(12)));
        for line in ["", "inside", "inside x", "done -1", "recover"] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}

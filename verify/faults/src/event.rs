//! What a client writes to its log. Each event is one line, written by one call, so that a killed client leaves whole lines.

use std::fmt;
use std::str::FromStr;

/// A time since boot, in nanoseconds. All processes of the machine agree on it.
pub(crate) type Time = u64;

/// An event of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// It begins to acquire a lock.
    Wants { lock: u32, at: Time },
    /// It has the lock.
    Has { lock: u32, at: Time, token: u64, is_death_reported: bool },
    /// It was told that it holds the lock until this time.
    Believes { lock: u32, until: Time },
    /// It was told that it lost the lock.
    Lost { lock: u32, at: Time },
    /// It begins to release the lock.
    Releases { lock: u32, at: Time },
    /// The release has ended.
    Released { lock: u32, at: Time, outcome: Outcome },
    /// It got no lock.
    GaveUp { lock: u32, at: Time },
    /// It was killed after this time, and its successor may start. The run writes this event.
    Killed { at: Time },
}

/// The outcome of a release.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Done,
    Lost,
    /// The server gave no answer.
    Unknown,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Wants { lock, at } => write!(f, "wants {lock} {at}"),
            Self::Has { lock, at, token, is_death_reported } => {
                write!(f, "has {lock} {at} {token} {}", u8::from(is_death_reported))
            }
            Self::Believes { lock, until } => write!(f, "believes {lock} {until}"),
            Self::Lost { lock, at } => write!(f, "lost {lock} {at}"),
            Self::Releases { lock, at } => write!(f, "releases {lock} {at}"),
            Self::Released { lock, at, outcome } => write!(f, "released {lock} {at} {}", outcome as u8),
            Self::GaveUp { lock, at } => write!(f, "gave-up {lock} {at}"),
            Self::Killed { at } => write!(f, "killed {at}"),
        }
    }
}

/// A line that is not an event.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct NoEvent;

impl FromStr for Event {
    type Err = NoEvent;

    fn from_str(line: &str) -> Result<Self, NoEvent> {
        let mut words = line.split(' ');
        let verb = words.next().ok_or(NoEvent)?;
        let numbers = words.map(|word| word.parse().map_err(|_| NoEvent)).collect::<Result<Vec<u64>, _>>()?;
        let lock = |number: u64| u32::try_from(number).map_err(|_| NoEvent);
        Ok(match (verb, numbers.as_slice()) {
            ("wants", &[id, at]) => Self::Wants { lock: lock(id)?, at },
            ("has", &[id, at, token, death]) => Self::Has { lock: lock(id)?, at, token, is_death_reported: death != 0 },
            ("believes", &[id, until]) => Self::Believes { lock: lock(id)?, until },
            ("lost", &[id, at]) => Self::Lost { lock: lock(id)?, at },
            ("releases", &[id, at]) => Self::Releases { lock: lock(id)?, at },
            ("released", &[id, at, outcome]) => {
                let outcome = *[Outcome::Done, Outcome::Lost, Outcome::Unknown].get(outcome as usize).ok_or(NoEvent)?;
                Self::Released { lock: lock(id)?, at, outcome }
            }
            ("killed", &[at]) => Self::Killed { at },
            ("gave-up", &[id, at]) => Self::GaveUp { lock: lock(id)?, at },
            _ => return Err(NoEvent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let events = [
            Event::Wants { lock: 1, at: 2 },
            Event::Has { lock: 1, at: 3, token: 4, is_death_reported: true },
            Event::Believes { lock: 1, until: 5 },
            Event::Lost { lock: 1, at: 6 },
            Event::Releases { lock: 1, at: 7 },
            Event::Released { lock: 1, at: 8, outcome: Outcome::Unknown },
            Event::GaveUp { lock: 1, at: 9 },
            Event::Killed { at: 10 },
        ];
        for event in events {
            assert_eq!(event.to_string().parse(), Ok(event));
        }
        assert_eq!("has 1 2".parse::<Event>(), Err(NoEvent));
    }
}

//! The live view as lines, for logs: one when a trouble begins, changes or ends.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use lock_any::{Holder, LockId};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::reader::{Reader, Reading, Sample};
use super::row::{self, Condition, Row};
use crate::exit::Failure;
use crate::output;

/// The form of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Text,
    Json,
}

/// Prints lines until the reader of the output closes the pipe, or a signal ends the process.
pub(crate) fn run(mut reader: Reader, first: Sample, interval: Duration, form: Form) -> Result<(), Failure> {
    let mut log = Log::default();
    let url = reader.url().to_owned();
    let mut reading = Reading::Sample(first);
    loop {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let mut text = String::new();
        for event in log.events(&reading) {
            text += &match form {
                Form::Text => format!("{time} {}\n", output::escaped(&event.sentence(&url))),
                Form::Json => {
                    serde_json::to_string(&Record { time: &time, store: &url, event: &event }).map_err(io::Error::from)? + "\n"
                }
            };
        }
        if !text.is_empty() {
            output::print(text)?;
        }
        pause(interval)?;
        reading = reader.read();
    }
}

/// Waits for the interval, or until the reader of the output closes the pipe.
fn pause(interval: Duration) -> Result<(), Failure> {
    let end = Instant::now() + interval;
    let stdout = io::stdout();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        // No event is asked for, so only the end of the pipe or an error of it ends the wait.
        let mut descriptors = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut descriptors, timeout) {
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
}

/// A line of JSON.
#[derive(Serialize)]
struct Record<'a> {
    time: &'a str,
    store: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// A change that the log reports.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// The store is read for the first time.
    Started { locks: usize, troubles: usize },
    /// A lock is in trouble, or in another trouble than before.
    Trouble {
        #[serde(flatten)]
        row: Row,
        /// The condition before; `null` if it was no trouble.
        was: Option<Condition>,
    },
    /// A lock is no longer in trouble.
    Ended { id: LockId, was: Condition },
    /// The store cannot be read.
    Lost { reason: String },
    /// The store can be read again.
    Back { locks: usize, troubles: usize },
}

impl Event {
    /// Returns the text of a line, without the time.
    fn sentence(&self, url: &str) -> String {
        let count = |count: usize| if count == 1 { "1 lock".to_owned() } else { format!("{count} locks") };
        match self {
            Self::Started { locks, troubles } => format!("{url}: {} held or waited for, {troubles} in trouble", count(*locks)),
            Self::Trouble { row, was: None } => format!("lock {} is in trouble: {}", row.id, about(row)),
            Self::Trouble { row, was: Some(was) } if *was == row.condition => {
                format!("lock {} is still in trouble: {}", row.id, about(row))
            }
            Self::Trouble { row, was: Some(was) } => {
                format!("lock {} is still in trouble, before: {was}, now: {}", row.id, about(row))
            }
            Self::Ended { id, was } => format!("lock {id} is no longer in trouble: {was}"),
            Self::Lost { reason } => format!("the store cannot be read, still trying: {reason}"),
            Self::Back { locks, troubles } => {
                format!("the store is back: {} held or waited for, {troubles} in trouble", count(*locks))
            }
        }
    }
}

fn about(row: &Row) -> String {
    let mut text = row.condition.to_string();
    match &row.holder {
        Some(holder) => text += &format!(", held by {holder}"),
        None if row.condition != Condition::LostWakeUp => text += ", its holder is not known",
        None => {}
    }
    if let Some(time) = row.held_for {
        text += &format!(" for {}", row::at_least(time));
    }
    match row.waiters {
        Some(1) => text += "; 1 thread waits",
        Some(count) => text += &format!("; {count} threads wait"),
        None => {}
    }
    if let Some(time) = row.longest_wait {
        text += &format!(", the longest for {}", row::at_least(time));
    }
    if !row.label.is_empty() {
        text += &format!("; its label is {:?}", row.label);
    }
    if let Some(doubt) = row.doubt.as_ref().filter(|_| row.condition == Condition::Doubtful) {
        text += &format!("; {doubt}");
    }
    text
}

/// What makes a trouble the same in two readings: its kind, and the holder if the trouble is one of the holder.
type Identity = (Condition, Option<Holder>);

fn identity(row: &Row) -> Identity {
    let is_of_holder = !matches!(row.condition, Condition::LongWait | Condition::LostWakeUp);
    (row.condition, row.holder.clone().filter(|_| is_of_holder))
}

/// The troubles of the last reading.
#[derive(Default)]
struct Log {
    troubles: BTreeMap<LockId, Identity>,
    is_started: bool,
    is_lost: bool,
}

impl Log {
    /// Returns the changes since the last reading, the most urgent first.
    fn events(&mut self, reading: &Reading) -> Vec<Event> {
        let sample = match reading {
            Reading::Sample(sample) => sample,
            Reading::Lost(_) if self.is_lost => return Vec::new(),
            Reading::Lost(reason) => {
                self.is_lost = true;
                return vec![Event::Lost { reason: reason.clone() }];
            }
        };
        let mut troubled: Vec<_> = sample.rows.iter().filter(|row| row.condition.is_trouble()).collect();
        troubled.sort_by_key(|row| (row.condition, row.id));
        let mut events = Vec::new();
        let (locks, troubles) = (sample.rows.len(), troubled.len());
        if !self.is_started {
            events.push(Event::Started { locks, troubles });
        } else if self.is_lost {
            events.push(Event::Back { locks, troubles });
        }
        (self.is_started, self.is_lost) = (true, false);
        let now: BTreeMap<_, _> = troubled.iter().map(|row| (row.id, identity(row))).collect();
        for row in troubled {
            let before = self.troubles.get(&row.id);
            if before.is_none_or(|before| *before != now[&row.id]) {
                events.push(Event::Trouble { row: row.clone(), was: before.map(|(was, _)| *was) });
            }
        }
        let ended = self.troubles.iter().filter(|(id, _)| !now.contains_key(id));
        events.extend(ended.map(|(id, (was, _))| Event::Ended { id: *id, was: *was }));
        self.troubles = now;
        events
    }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;

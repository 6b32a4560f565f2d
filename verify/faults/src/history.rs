//! The acquisitions of a lock, from the logs of all clients.

use std::collections::BTreeMap;

use crate::event::{Event, Outcome, Time};

/// An acquisition of a lock that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Acquisition {
    pub(crate) client: usize,
    pub(crate) token: u64,
    /// From the call to its return.
    pub(crate) wanted: Time,
    pub(crate) got: Time,
    /// The client was told that it holds the lock until this time.
    pub(crate) believed_until: Time,
    pub(crate) is_death_reported: bool,
    pub(crate) end: End,
}

/// The end of an acquisition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// It was released between these times.
    Released { from: Time, to: Time },
    /// The client was told that it lost the lock, or that the release failed, or it was killed during the release. The server may have
    /// released the lock from the first time on, if a release was begun.
    Unknown { from: Option<Time> },
    /// The client lost the lock, or was killed, before it began a release.
    Lost,
}

/// A session that the server ended before its time, because of a fault.
///
/// The client believes that it holds its locks until it notices. No clock can prevent that: only the check of tokens does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EarlyEnd {
    /// `None` if it may have been the session of any client.
    pub(crate) client: Option<usize>,
    /// It ended between these times.
    pub(crate) from: Time,
    pub(crate) to: Time,
}

/// Ends the belief of owners with their sessions, and returns the number of owners that believed longer.
pub(crate) fn end_early(locks: &mut BTreeMap<u32, Vec<Acquisition>>, ends: &[EarlyEnd]) -> usize {
    let mut ended = 0;
    for acquisition in locks.values_mut().flatten() {
        let is_meant = |end: &&EarlyEnd| {
            end.client.is_none_or(|client| client == acquisition.client)
                && acquisition.wanted <= end.to
                && end.from < acquisition.believed_until
                // A session that has ended releases nothing.
                && !matches!(acquisition.end, End::Released { .. })
        };
        if let Some(end) = ends.iter().find(is_meant) {
            acquisition.believed_until = end.from;
            ended += 1;
        }
    }
    ended
}

/// Returns the acquisitions of each lock, in the order of their tokens. `logs` has the log of each client and its successors.
pub(crate) fn acquisitions(logs: &[Vec<Event>]) -> BTreeMap<u32, Vec<Acquisition>> {
    let mut locks: BTreeMap<u32, Vec<Acquisition>> = BTreeMap::new();
    for (client, log) in logs.iter().enumerate() {
        let mut wanted = 0;
        let mut current: Option<(u32, Acquisition)> = None;
        let mut keep = |current: &mut Option<(u32, Acquisition)>| {
            if let Some((lock, acquisition)) = current.take() {
                locks.entry(lock).or_default().push(acquisition);
            }
        };
        for event in log {
            match (*event, &mut current) {
                (Event::Wants { at, .. }, _) => {
                    keep(&mut current);
                    wanted = at;
                }
                (Event::Has { lock, at, token, is_death_reported }, _) => {
                    let end = End::Lost;
                    let acquisition = Acquisition { client, token, wanted, got: at, believed_until: at, is_death_reported, end };
                    current = Some((lock, acquisition));
                }
                (Event::Believes { until, .. }, Some((_, acquisition))) => acquisition.believed_until = until,
                (Event::Lost { at, .. } | Event::Killed { at }, Some((_, acquisition))) => {
                    acquisition.believed_until = acquisition.believed_until.min(at);
                }
                (Event::Releases { at, .. }, Some((_, acquisition))) => {
                    // From now on the client does not use the lock.
                    acquisition.believed_until = acquisition.believed_until.min(at);
                    acquisition.end = End::Unknown { from: Some(at) };
                }
                (Event::Released { at, outcome, .. }, Some((_, acquisition))) => {
                    acquisition.end = match (outcome, acquisition.end) {
                        (Outcome::Done, End::Unknown { from: Some(from) }) => End::Released { from, to: at },
                        (Outcome::Lost, _) => End::Unknown { from: None },
                        (_, end) => end,
                    };
                }
                _ => {}
            }
        }
        keep(&mut current);
    }
    for lock in locks.values_mut() {
        lock.sort_by_key(|acquisition| (acquisition.token, acquisition.got));
    }
    locks
}

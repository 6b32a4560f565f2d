//! Reads a store again and again, and opens it anew after it was removed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lock_any::{Error, ErrorKind, Holder, LockId, Store, WaitGraph};
use lock_proc::{State, Thread};

use super::row::{Row, Signs, Thresholds};
use crate::exit::Failure;
use crate::why::{self, Facts, Here, Survey};

/// The largest number of holders whose threads are read from `/proc` in one reading. Those for which others wait are read first.
const THREADS: usize = 500;

/// The result of a reading.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Reading {
    Sample(Sample),
    /// The store cannot be read, for this reason.
    Lost(String),
}

/// The locks of a store that are held or waited for, at one moment.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Sample {
    /// In ascending order of id.
    pub(crate) rows: Vec<Row>,
    /// Why not everything could be seen.
    pub(crate) unseen: Option<String>,
}

/// A store that is read repeatedly.
pub(crate) struct Reader {
    url: String,
    store: Option<Store>,
    here: Here,
    thresholds: Thresholds,
    /// The locks with a doubt in the last reading. A doubt in one reading only is a lock that just changed its holder.
    doubtful: BTreeSet<LockId>,
}

impl Reader {
    /// Opens the store, which must exist, and reads it for the first time. A backend that lists no locks fails here.
    pub(crate) fn open(url: String, thresholds: Thresholds) -> Result<(Self, Sample), Failure> {
        let mut reader = Self { url, store: None, here: Here::new(), thresholds, doubtful: BTreeSet::new() };
        let sample = reader.try_read()?;
        Ok((reader, sample))
    }

    /// Returns the URL of the store.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Reads the store. After an error, the next call opens it anew.
    pub(crate) fn read(&mut self) -> Reading {
        match self.try_read() {
            Ok(sample) => Reading::Sample(sample),
            Err(error) => {
                self.store = None;
                Reading::Lost(error.to_string())
            }
        }
    }

    /// Returns the sentences of `why` about a lock.
    pub(crate) fn explain(&self, id: LockId) -> Vec<String> {
        let Some(store) = &self.store else { return Vec::new() };
        why::sentences(store, id).unwrap_or_else(|failure| vec![failure.message().to_owned()])
    }

    fn try_read(&mut self) -> Result<Sample, Error> {
        let store = self.current()?;
        let start = Instant::now();
        let graph = WaitGraph::read([&store])?;
        let survey = Survey::of(&store, None, &graph)?;
        let steps = graph.cycles.iter().flat_map(|cycle| &cycle.steps);
        let cyclic: BTreeSet<_> = steps.map(|step| step.holds.id).collect();
        let threads = self.threads(&survey, start);
        let doubtful: BTreeSet<_> =
            survey.locks.iter().filter(|(_, facts)| facts.entry.doubt.is_some()).map(|(id, _)| *id).collect();
        let mut rows = Vec::new();
        for (id, facts) in survey.locks {
            let is_idle = facts.entry.held == Some(false) && facts.entry.waiters.unwrap_or_default() == 0;
            if is_idle {
                continue;
            }
            let label = store.allocation(id)?.map(|allocation| allocation.label.to_string()).unwrap_or_default();
            let thread = facts.entry.holder.as_ref().and_then(|holder| threads.get(&(holder.pid, holder.tid)));
            let is_confirmed = self.doubtful.contains(&id);
            rows.push(self.row(facts, label, thread, cyclic.contains(&id), is_confirmed));
        }
        self.doubtful = doubtful;
        Ok(Sample { rows, unseen: survey.incomplete })
    }

    fn row(&self, facts: Facts, label: String, observed: Option<&Observed>, is_cyclic: bool, is_confirmed: bool) -> Row {
        let Facts { entry, is_dead, waiting } = facts;
        let observed = observed.filter(|_| !is_dead);
        let slept = observed.and_then(|observed| why::held_for(&observed.thread, &waiting, &self.here));
        // A process that holds a lock may have released it in any of its threads.
        let idle =
            observed.filter(|_| entry.holder.as_ref().is_some_and(|holder| holder.tid != 0)).and_then(|holder| holder.idle);
        let held_for = entry.held_for_at_least.max(slept).max(idle);
        let longest_wait = waiting.iter().filter_map(|waiter| waiter.waited).max();
        let doubt = entry.doubt.filter(|_| is_confirmed || is_dead);
        let signs = Signs {
            is_cyclic,
            is_dead,
            is_stopped: observed.is_some_and(|observed| observed.thread.state == State::Stopped),
            has_lost_waiter: waiting.iter().any(|waiter| waiter.is_lost),
            is_doubtful: doubt.is_some(),
            held: entry.held,
            held_for,
            waiters: entry.waiters,
            longest_wait,
        };
        Row {
            id: entry.id,
            condition: signs.condition(self.thresholds),
            label,
            holder: entry.holder,
            doubt,
            held_for,
            waiters: entry.waiters,
            longest_wait,
        }
    }

    /// Returns the open store. Opens it if it is not open, or was replaced.
    fn current(&mut self) -> Result<Store, Error> {
        if let Some(store) = &self.store {
            match store.check() {
                Ok(()) => return Ok(store.clone()),
                Err(error) if error.is_unsupported() => return Ok(store.clone()),
                Err(error) if error.kind() != ErrorKind::Replaced => return Err(error),
                Err(_) => {}
            }
        }
        Ok(self.store.insert(lock_any::open(&*self.url)?).clone())
    }

    /// Reads the threads of the holders, by pid and tid.
    fn threads(&self, survey: &Survey, start: Instant) -> BTreeMap<(u32, u32), Observed> {
        let mut holders: Vec<_> = survey.locks.values().filter(|facts| !facts.is_dead && facts.entry.holder.is_some()).collect();
        holders.sort_by_key(|facts| Reverse(facts.entry.waiters));
        let mut threads = BTreeMap::new();
        for holder in holders.into_iter().filter_map(|facts| facts.entry.holder.as_ref()) {
            if threads.len() == THREADS {
                break;
            }
            let key = (holder.pid, holder.tid);
            threads.entry(key).or_insert_with(|| self.observe(holder, start));
        }
        threads.into_iter().filter_map(|(key, observed)| Some((key, observed?))).collect()
    }

    fn observe(&self, holder: &Holder, start: Instant) -> Option<Observed> {
        let thread = self.here.thread(holder)?;
        // A thread that has run since the store was read may have released the lock, and acquired it again.
        let idle = thread.idle().filter(|idle| *idle > start.elapsed());
        Some(Observed { thread, idle })
    }
}

/// The thread of a holder.
struct Observed {
    thread: Thread,
    /// The time for which it has not run, if that began before the store was read. So long it holds its locks at least.
    idle: Option<Duration>,
}

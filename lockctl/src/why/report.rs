//! What `why` found. The names are stable in JSON, because scripts read them.

use std::collections::BTreeMap;
use std::time::Duration;

use lock_any::{Allocation, Breaking, Holder, LockId, Numbering, Store, Waiter, Waiters};
use lock_proc::{State, Thread};
use serde::Serialize;

use super::graph::Step;
use super::here::Here;
use super::podman::Object;
use super::survey::{Facts, Survey};
use crate::facts::{Entry, seconds};

/// A store, and some or one of its locks.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) store: String,
    pub(crate) details: BTreeMap<&'static str, String>,
    pub(crate) locks: Vec<LockReport>,
    /// Each with the steps from a lock to itself.
    pub(crate) cycles: Vec<Vec<StepReport>>,
    /// The number of held locks; `null` if the backend does not list them.
    pub(crate) held: Option<usize>,
    /// Whether the backend names the waiting threads.
    pub(crate) names_waiters: bool,
    /// What could not be seen, and why.
    pub(crate) unseen: Vec<String>,
    #[serde(skip)]
    pub(crate) counts_waiters: bool,
    #[serde(skip)]
    pub(crate) is_breakable: bool,
}

/// A lock.
#[derive(Serialize)]
pub(crate) struct LockReport {
    #[serde(flatten)]
    pub(crate) entry: Entry,
    pub(crate) is_holder_dead: bool,
    /// The process of the holder; `null` if `/proc` does not show it.
    pub(crate) process: Option<Process>,
    /// The locks of the store for which the holder waits.
    pub(crate) waits_for: Vec<Wanted>,
    /// The waiting threads; empty if the backend does not name them.
    pub(crate) waiting: Vec<Waiter>,
    /// The objects of podman with this lock.
    pub(crate) objects: Vec<Object>,
}

/// What `/proc` says about a holder.
#[derive(Serialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    /// The time since the start of the process.
    #[serde(serialize_with = "seconds")]
    pub(crate) age: Option<Duration>,
    /// What the thread does now.
    pub(crate) activity: String,
    pub(crate) is_stopped: bool,
}

/// A lock that a holder of another one waits for.
#[derive(Serialize)]
pub(crate) struct Wanted {
    pub(crate) id: LockId,
    pub(crate) holder: Option<Holder>,
}

/// A step of a cycle: the holder of the lock `id` waits for `waits_for`, in the thread `waiter`.
#[derive(Serialize)]
pub(crate) struct StepReport {
    pub(crate) id: LockId,
    pub(crate) holder: Option<Holder>,
    pub(crate) waiter: Holder,
    pub(crate) waits_for: LockId,
}

/// The number of held locks up to which each is described.
const FEW: usize = 10;

impl Report {
    /// Describes one lock, or the locks that need an explanation.
    pub(crate) fn new(store: &Store, mut survey: Survey, id: Option<LockId>, here: &Here) -> Self {
        let is_cyclic = |lock: LockId| survey.cycles.iter().flatten().any(|(step, _)| step.holds == lock);
        // Of few held locks, each is described: its holder may be stopped, and other threads may wait for that holder elsewhere.
        let has_few = survey.locks.len() <= FEW;
        let is_single = store.capabilities().numbering == Numbering::Single;
        let is_wanted = |lock: LockId, facts: &Facts| match id {
            Some(id) => lock == id,
            None => is_single || has_few || facts.is_notable() || is_cyclic(lock),
        };
        let ids: Vec<_> = survey.locks.iter().filter(|(id, facts)| is_wanted(**id, facts)).map(|(id, _)| *id).collect();
        let holder_of = |id: LockId, survey: &Survey| survey.locks.get(&id).and_then(|facts| facts.entry.holder.clone());
        let waits_for: Vec<Vec<Wanted>> = ids.iter().map(|id| wanted(*id, &survey, here)).collect();
        let cycles = survey.cycles.iter().filter(|cycle| id.is_none_or(|id| cycle.iter().any(|(step, _)| step.holds == id)));
        let step = |(step, waiter): &(Step, Waiter)| StepReport {
            id: step.holds,
            holder: holder_of(step.holds, &survey),
            waiter: waiter.thread.clone(),
            waits_for: step.waits_for,
        };
        let cycles = cycles.map(|cycle| cycle.iter().map(step).collect()).collect();
        let held = survey.lists_held.then(|| survey.locks.values().filter(|facts| facts.entry.held == Some(true)).count());
        let facts: Vec<_> = ids.iter().filter_map(|id| survey.locks.remove(id)).collect();
        let locks = facts.into_iter().zip(waits_for).map(|(facts, waits_for)| LockReport::new(facts, waits_for, here));
        Self {
            store: store.url().to_owned(),
            details: store.details().into_iter().collect(),
            locks: locks.collect(),
            cycles,
            held,
            names_waiters: survey.names_waiters,
            unseen: survey.incomplete.into_iter().collect(),
            counts_waiters: store.capabilities().waiters == Waiters::Counted,
            is_breakable: store.capabilities().breaking == Breaking::Explicit,
        }
    }
}

/// Returns the locks for which the holder of this lock waits.
fn wanted(id: LockId, survey: &Survey, here: &Here) -> Vec<Wanted> {
    let Some(holder) = survey.locks.get(&id).and_then(|facts| facts.entry.holder.as_ref()) else { return Vec::new() };
    let holder = here.agent(holder);
    let waits =
        survey.locks.values().filter(|other| other.waiting.iter().any(|waiter| holder.is_waiter(&here.agent(&waiter.thread))));
    waits.map(|other| Wanted { id: other.entry.id, holder: other.entry.holder.clone() }).collect()
}

impl LockReport {
    /// Adds the properties of the allocation.
    pub(crate) fn allocated(&mut self, allocation: Option<Allocation>) {
        if let Some(allocation) = allocation {
            self.entry = std::mem::replace(&mut self.entry, Entry::new(LockId::new(0))).allocated(allocation);
        }
    }

    fn new(facts: Facts, waits_for: Vec<Wanted>, here: &Here) -> Self {
        let thread = facts.entry.holder.as_ref().filter(|_| !facts.is_dead).and_then(|holder| here.thread(holder));
        let mut entry = facts.entry;
        let slept = thread.as_ref().and_then(|holder| held_for(holder, &facts.waiting, here));
        entry.held_for_at_least = entry.held_for_at_least.max(slept);
        let process = thread.map(|thread| Process {
            pid: thread.pid,
            tid: thread.tid,
            age: thread.age(),
            activity: thread.activity(),
            is_stopped: thread.state == State::Stopped,
        });
        Self { entry, is_holder_dead: facts.is_dead, process, waits_for, waiting: facts.waiting, objects: Vec::new() }
    }
}

/// Returns the longest sleep of a waiter on a word with the thread id of the holder.
///
/// The sleep of another waiter says nothing: it may have begun before the holder acquired the lock.
pub(crate) fn held_for(holder: &Thread, waiting: &[Waiter], here: &Here) -> Option<Duration> {
    /// The bits of a word with the owner's thread id, in robust mutexes (futex(2)).
    const OWNER: u32 = nix::libc::FUTEX_TID_MASK;
    let slept = |waiter: &Waiter| {
        let value = here.thread(&waiter.thread)?.futex_value()?;
        // Read after the value, so that the sleep is not an earlier one.
        here.thread(&waiter.thread)?.asleep().filter(|_| value & OWNER == holder.tid)
    };
    waiting.iter().filter_map(slept).max()
}

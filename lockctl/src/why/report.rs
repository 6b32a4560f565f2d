//! What `why` found. The names are stable in JSON, because scripts read them.

use std::collections::BTreeMap;
use std::time::Duration;

use lock_any::{
    Allocation, Breaking, Deadlock, Dependence, Holder, LockAddress, LockId, Numbering, Store, WaitGraph, Waiter, Waiters,
};
use lock_proc::{State, Thread};
use serde::Serialize;

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
    /// The cycles with one of these locks, each with the steps from a lock to itself.
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
    /// The store, if it is another one.
    pub(crate) store: Option<String>,
    /// The thread that waits, if it is a descendant of the holder.
    pub(crate) descendant: Option<Holder>,
}

/// A step of a cycle: the holder of the lock `id` waits for `waits_for`, in the thread `waiter`.
#[derive(Serialize)]
pub(crate) struct StepReport {
    pub(crate) store: String,
    pub(crate) id: LockId,
    pub(crate) holder: Holder,
    pub(crate) waiter: Holder,
    pub(crate) waits_for: LockId,
    /// The store of `waits_for`.
    pub(crate) waits_in: String,
    /// How the holder depends on the waiter.
    pub(crate) dependence: Dependence,
}

/// The number of held locks up to which each is described.
const FEW: usize = 10;

impl Report {
    /// Describes one lock, or the locks that need an explanation.
    pub(crate) fn new(store: &Store, mut survey: Survey, id: Option<LockId>, graph: &WaitGraph, here: &Here) -> Self {
        let address = |id| LockAddress::new(store.url(), id);
        let is_in = |cycle: &Deadlock, id| cycle.steps.iter().any(|step| step.holds == address(id));
        let is_cyclic = |lock: LockId| graph.cycles.iter().any(|cycle| is_in(cycle, lock));
        // Of few held locks, each is described: its holder may be stopped, and other threads may wait for that holder elsewhere.
        let has_few = survey.locks.len() <= FEW;
        let is_single = store.capabilities().numbering == Numbering::Single;
        let is_wanted = |lock: LockId, facts: &Facts| match id {
            Some(id) => lock == id,
            None => is_single || has_few || facts.is_notable() || is_cyclic(lock),
        };
        let ids: Vec<_> = survey.locks.iter().filter(|(id, facts)| is_wanted(**id, facts)).map(|(id, _)| *id).collect();
        let waits_for: Vec<Vec<Wanted>> = ids.iter().map(|id| wanted(&address(*id), graph)).collect();
        let is_of_store = |cycle: &Deadlock| cycle.steps.iter().any(|step| step.holds.store == store.url());
        let cycles = graph.cycles.iter().filter(|cycle| id.map_or_else(|| is_of_store(cycle), |id| is_in(cycle, id)));
        let cycles = cycles.map(steps).collect();
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
            counts_waiters: store.capabilities().waiters >= Waiters::Counted,
            is_breakable: store.capabilities().breaking == Breaking::Explicit,
        }
    }
}

/// Returns the steps of a cycle.
pub(super) fn steps(cycle: &Deadlock) -> Vec<StepReport> {
    let step = |step: &lock_any::DeadlockStep| StepReport {
        store: step.holds.store.clone(),
        id: step.holds.id,
        holder: step.holder.clone(),
        waiter: step.waiter.clone(),
        waits_for: step.waits_for.id,
        waits_in: step.waits_for.store.clone(),
        dependence: step.dependence,
    };
    cycle.steps.iter().map(step).collect()
}

/// Returns the locks for which the holder of this lock waits, or a descendant of it.
fn wanted(lock: &LockAddress, graph: &WaitGraph) -> Vec<Wanted> {
    let holder_of = |wanted: &LockAddress| graph.locks.iter().find(|other| other.lock == *wanted)?.holder.clone();
    let wanted = |(wait, dependence): (&lock_any::GraphWait, Dependence)| Wanted {
        id: wait.waits_for.id,
        holder: holder_of(&wait.waits_for),
        store: (wait.waits_for.store != lock.store).then(|| wait.waits_for.store.clone()),
        descendant: (dependence == Dependence::Ancestor).then(|| wait.thread.clone()),
    };
    graph.waits_of_holder(lock).map(wanted).collect()
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

//! The wait-for graph of one or several stores.

mod agent;
mod cycles;
mod family;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use self::agent::{Agent, Here};
use self::cycles::Step;
use self::family::Ancestor;
pub(crate) use self::watch::{Advice, DeadlockWatch};
use crate::deadlock_policy::names_waiters;
use crate::{
    Deadlock, DeadlockStep, Dependence, Error, HeldBy, Holder, Holders, LockAddress, LockId, Numbering, Operation, Result, Store,
    Waiter, Waits,
};

/// The time between two readings that confirm a cycle.
const RECHECK: Duration = Duration::from_millis(50);

impl Holder {
    /// Returns true if this is an ancestor process of the calling one.
    ///
    /// A wait for a lock that an ancestor holds never ends if the ancestor waits for its descendant, as a program does that runs another
    /// one under a lock. The result is false if `/proc` does not show the ancestors, and for a process of another PID namespace or host.
    ///
    /// # Examples
    /// ```
    /// use lock_core::Holder;
    /// let parent = Holder::of_process(std::os::unix::process::parent_id());
    /// // Without its start time, another process could have its number.
    /// assert!(!parent.is_ancestor());
    /// ```
    pub fn is_ancestor(&self) -> bool {
        let Some(start_time) = self.start_time.filter(|_| Here::new().sees(self)) else { return false };
        family::of_this_process().contains(&Ancestor { pid: self.pid, start_time })
    }
}

impl Store {
    /// Returns the cycles of threads that wait for each other's locks.
    ///
    /// A cycle is returned only if two readings show it, 50 ms apart. [`WaitGraph::read`] also returns the threads and the locks, and reads
    /// several stores.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) when the backend does not know which threads wait.
    pub fn deadlocks(&self) -> Result<Vec<Deadlock>> {
        let claims = self.capabilities();
        if !names_waiters(claims.waiters) || claims.holders < Holders::Named {
            let error = Error::unsupported("it does not name holders and waiters");
            return self.with_context(Operation::ListWaiting, None, Err(error));
        }
        Ok(WaitGraph::read([self])?.cycles)
    }
}

/// The threads that wait, the locks for which they wait, and the holders of these locks.
///
/// [`WaitGraph::read`] reads it from one or several stores.
///
/// # Examples
/// ```
/// use lock_core::WaitGraph;
/// # mod memory { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/memory/backend.rs")); }
/// # let store = memory::store()?;
/// for cycle in WaitGraph::read([&store])?.cycles {
///     eprintln!("deadlock: {cycle}");
/// }
/// # Ok::<(), lock_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct WaitGraph {
    /// The locks that a thread waits for, and those that a waiting thread, its process or an ancestor process holds, in ascending order.
    pub locks: Vec<GraphLock>,
    /// The waiting threads, in ascending order of the lock.
    pub waits: Vec<GraphWait>,
    /// The cycles.
    pub cycles: Vec<Deadlock>,
    /// The stores, in the order in which they were given.
    pub stores: Vec<GraphStore>,
}

/// A store of a [`WaitGraph`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct GraphStore {
    /// Its URL.
    pub store: String,
    /// False if the backend does not name the waiting threads. The graph then lacks them.
    pub names_waiters: bool,
    /// The reason why waiting threads may be missing, such as missing rights, and what to do. `None` if none is.
    pub incomplete: Option<String>,
}

/// A lock of a [`WaitGraph`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct GraphLock {
    /// The lock.
    pub lock: LockAddress,
    /// Its holder. `None` if it is free, or the backend cannot name the holder.
    pub holder: Option<Holder>,
    /// True if the holder is proven to be dead.
    pub is_holder_dead: bool,
    /// The reason why the holder is not named.
    pub doubt: Option<String>,
}

/// A thread that waits, in a [`WaitGraph`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct GraphWait {
    /// The waiting thread.
    pub thread: Holder,
    /// The lock.
    pub waits_for: LockAddress,
    /// The time that the thread has waited at least, where it is known. Serialized as a number of seconds.
    #[cfg_attr(feature = "serde", serde(with = "crate::serialize::seconds"))]
    pub waited: Option<Duration>,
    /// True if the thread sleeps and no release will wake it, because its wake-up was lost.
    pub is_lost: bool,
    /// The locks that depend on this wait, each with the reason.
    pub holds: Vec<HeldDuringWait>,
}

/// A lock that is held while a thread waits, in a [`GraphWait`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HeldDuringWait {
    /// The lock.
    pub lock: LockAddress,
    /// How its holder depends on the waiting thread.
    pub dependence: Dependence,
}

impl WaitGraph {
    /// Reads the graph of the stores. A store that is given twice is read once.
    ///
    /// The call does not acquire, delay or change a lock. Holders and waiters are not read at one moment, so that a reading may show a
    /// cycle that never was. A cycle is returned only if a second reading, 50 ms later, shows it again.
    ///
    /// An ancestor process is found only if it and its descendant have pids of the caller's PID namespace.
    ///
    /// # Errors
    /// Those of [`Store::held`] and [`Store::waiting`], except [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): see
    /// [`GraphStore::names_waiters`].
    pub fn read<'a>(stores: impl IntoIterator<Item = &'a Store>) -> Result<Self> {
        let mut different: Vec<&Store> = Vec::new();
        for store in stores {
            if different.iter().all(|other| other.id() != store.id()) {
                different.push(store);
            }
        }
        let here = Here::new();
        let first = Reading::of(&different, &here)?.graph(&here);
        if first.cycles.is_empty() {
            return Ok(first);
        }
        thread::sleep(RECHECK);
        let mut second = Reading::of(&different, &here)?.graph(&here);
        let key = |cycle: &Deadlock| -> Vec<_> {
            let step = |step: &DeadlockStep| (step.holds.clone(), here.agent(&step.waiter), step.waits_for.clone());
            cycle.steps.iter().map(step).collect()
        };
        let before: BTreeSet<_> = first.cycles.iter().map(key).collect();
        second.cycles.retain(|cycle| before.contains(&key(cycle)));
        Ok(second)
    }

    /// Returns the locks for which the holder of this lock waits, or a descendant of it.
    pub fn waits_of_holder<'a>(&'a self, lock: &'a LockAddress) -> impl Iterator<Item = (&'a GraphWait, Dependence)> {
        self.waits.iter().filter_map(move |wait| {
            let held = wait.holds.iter().find(|held| held.lock == *lock)?;
            Some((wait, held.dependence))
        })
    }
}

/// The position of a store, and an id.
type Key = (usize, LockId);

/// A waiter with its lock, its identity and its ancestor processes.
type KnownWaiter = (Key, Waiter, Agent, Vec<Ancestor>);

struct Reading<'a> {
    stores: &'a [&'a Store],
    waiters: Vec<KnownWaiter>,
    holders: BTreeMap<Key, HeldBy>,
    read: Vec<GraphStore>,
}

impl<'a> Reading<'a> {
    fn of(stores: &'a [&'a Store], here: &Here) -> Result<Self> {
        let mut reading = Self { stores, waiters: Vec::new(), holders: BTreeMap::new(), read: Vec::new() };
        let mut families: BTreeMap<Agent, Vec<Ancestor>> = BTreeMap::new();
        for (position, store) in stores.iter().enumerate() {
            let (waits, names_waiters) = match store.waiting() {
                Ok(waits) => (waits, true),
                Err(error) if error.is_unsupported() => (Waits::default(), false),
                Err(error) => return Err(error),
            };
            reading.read.push(GraphStore { store: store.url().to_owned(), names_waiters, incomplete: waits.incomplete });
            for waiter in waits.waiters {
                let agent = here.agent(&waiter.thread);
                let process = here.agent(&Holder { tid: 0, ..waiter.thread.clone() });
                let find = || {
                    let Holder { pid, start_time, .. } = waiter.thread;
                    if here.sees(&waiter.thread) { family::ancestors(pid, start_time) } else { Vec::new() }
                };
                let ancestors = families.entry(process).or_insert_with(find).clone();
                reading.waiters.push(((position, waiter.id), waiter, agent, ancestors));
            }
        }
        if !reading.waiters.is_empty() {
            for position in 0..stores.len() {
                reading.add_holders(position, here)?;
            }
        }
        Ok(reading)
    }

    /// Adds the holders of the locks that threads wait for, and of those on which a waiting thread may depend.
    fn add_holders(&mut self, position: usize, here: &Here) -> Result<()> {
        let store = self.stores[position];
        let wanted = self.waiters.iter().map(|(key, ..)| *key).filter(|(store, _)| *store == position);
        let mut ids: BTreeSet<LockId> = wanted.map(|(_, id)| id).collect();
        if store.capabilities().numbering == Numbering::Single {
            ids.insert(LockId::new(0));
        } else {
            let ancestors = self.waiters.iter().flat_map(|(.., ancestors)| ancestors.iter().map(|ancestor| ancestor.pid));
            let pids: BTreeSet<u32> = self.waiters.iter().map(|(_, waiter, ..)| waiter.thread.pid).chain(ancestors).collect();
            for held in store.iter_held() {
                match held {
                    Ok(held) => {
                        let holder = held.holder.filter(|holder| pids.contains(&holder.pid));
                        if holder.is_some_and(|holder| self.is_waited_on(&holder, here)) {
                            ids.insert(held.id);
                        }
                    }
                    // The holders of the locks that threads wait for are asked for one by one.
                    Err(error) if error.is_unsupported() => break,
                    Err(error) => return Err(error),
                }
            }
        }
        for id in ids {
            self.holders.insert((position, id), store.retrieve(id)?.held_by());
        }
        Ok(())
    }

    /// Returns whether a thread waits that this holder depends on.
    fn is_waited_on(&self, holder: &Holder, here: &Here) -> bool {
        self.waiters.iter().any(|waiter| self.dependence(holder, waiter, here).is_some())
    }

    fn dependence(&self, holder: &Holder, (_, waiter, agent, ancestors): &KnownWaiter, here: &Here) -> Option<Dependence> {
        let holding = here.agent(holder);
        if holding.is_waiter(agent) {
            let is_only = || here.sees(&waiter.thread) && family::has_one_thread(holder.pid, holder.start_time);
            return Some(if holding.is_process() && !is_only() { Dependence::Process } else { Dependence::Thread });
        }
        let is_it =
            |ancestor: &Ancestor| ancestor.pid == holder.pid && holder.start_time.is_none_or(|time| time == ancestor.start_time);
        (here.sees(holder) && ancestors.iter().any(is_it)).then_some(Dependence::Ancestor)
    }

    fn address(&self, (store, id): Key) -> LockAddress {
        LockAddress::new(self.stores[store].url(), id)
    }

    fn graph(self, here: &Here) -> WaitGraph {
        let alive = |held_by: &HeldBy| if held_by.is_dead() { None } else { held_by.holder().cloned() };
        let holders: Vec<_> = self.holders.iter().filter_map(|(key, held_by)| Some((*key, alive(held_by)?))).collect();
        let mut waits = Vec::new();
        let mut steps = BTreeMap::new();
        for (number, entry) in self.waiters.iter().enumerate() {
            let (key, waiter, ..) = entry;
            let held = holders.iter().filter_map(|(held, holder)| Some((*held, holder, self.dependence(holder, entry, here)?)));
            let held: Vec<_> = held.collect();
            let holds =
                held.iter().map(|(held, _, dependence)| HeldDuringWait { lock: self.address(*held), dependence: *dependence });
            waits.push(GraphWait {
                thread: waiter.thread.clone(),
                waits_for: self.address(*key),
                waited: waiter.waited,
                is_lost: waiter.is_lost,
                holds: holds.collect(),
            });
            for (held, holder, dependence) in held {
                let described = DeadlockStep {
                    holds: self.address(held),
                    holder: holder.clone(),
                    waiter: waiter.thread.clone(),
                    waits_for: self.address(*key),
                    dependence,
                };
                steps.insert((held, number), (Step { holds: held, waits_for: *key, waiter: number }, described));
            }
        }
        let described = |cycle: Vec<Step<Key>>| Deadlock {
            steps: cycle.iter().filter_map(|step| Some(steps.get(&(step.holds, step.waiter))?.1.clone())).collect(),
        };
        let cycles = cycles::cycles(steps.values().map(|(step, _)| *step)).into_iter().map(described).collect();
        let lock = |(key, held_by): (&Key, &HeldBy)| GraphLock {
            lock: self.address(*key),
            holder: held_by.holder().cloned(),
            is_holder_dead: held_by.is_dead(),
            doubt: if let HeldBy::Unknown { reason } = held_by { Some(reason.clone()) } else { None },
        };
        let locks = self.holders.iter().map(lock).collect();
        WaitGraph { locks, waits, cycles, stores: self.read }
    }
}

//! Threads that wait for each other.

use std::fmt;

use crate::{Holder, LockId};

/// A lock of one of several stores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LockAddress {
    /// The URL of the store, as [`Store::url`](crate::Store::url) returns it.
    pub store: String,
    /// The id of the lock.
    pub id: LockId,
}

impl LockAddress {
    /// Creates the address of a lock.
    pub fn new(store: impl Into<String>, id: LockId) -> Self {
        Self { store: store.into(), id }
    }
}

impl fmt::Display for LockAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock {} of {}", self.id, self.store)
    }
}

/// A cycle of threads, each of which waits for a lock that the next one holds.
///
/// It is displayed as one line, such as `pid 10 (cp) holds lock 1 and waits for lock 2; pid 11 (mv) holds lock 2 and waits for lock 1`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Deadlock {
    /// The steps of the cycle. The lock that a step waits for is the one that the next step holds; after the last comes the first.
    pub steps: Vec<DeadlockStep>,
}

/// A step of a [`Deadlock`]: a lock is held until a thread gets another lock.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DeadlockStep {
    /// The held lock.
    pub holds: LockAddress,
    /// Its holder.
    pub holder: Holder,
    /// The waiting thread.
    pub waiter: Holder,
    /// The lock for which the thread waits.
    pub waits_for: LockAddress,
    /// How the holder depends on the waiting thread.
    pub dependence: Dependence,
}

/// How the holder of a lock depends on a thread that waits for another one, in a [`DeadlockStep`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Dependence {
    /// The waiting thread is the holder. It cannot release the lock while it waits.
    Thread,
    /// The holder is the process of the waiting thread. Another thread of the process may release the lock.
    Process,
    /// The holder is an ancestor process of the waiting thread. It may wait until its descendant ends, as a program does that runs
    /// another one under a lock, or not.
    Ancestor,
}

impl Deadlock {
    /// Creates a cycle of these steps.
    pub fn new(steps: Vec<DeadlockStep>) -> Self {
        Self { steps }
    }

    /// Returns true if no thread of the cycle can proceed before a wait ends without its lock: each thread itself holds its lock.
    ///
    /// Otherwise the cycle is a deadlock unless another thread of a process releases a lock, or an ancestor process does not wait for its
    /// descendant.
    pub fn is_certain(&self) -> bool {
        self.steps.iter().all(|step| step.dependence == Dependence::Thread)
    }
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_one_store = self.steps.iter().all(|step| self.steps[0].holds.store == step.holds.store);
        let lock = |lock: &LockAddress| if is_one_store { format!("lock {}", lock.id) } else { lock.to_string() };
        for (position, step) in self.steps.iter().enumerate() {
            let (holds, waits_for, DeadlockStep { holder, waiter, .. }) = (lock(&step.holds), lock(&step.waits_for), step);
            f.write_str(if position == 0 { "" } else { "; " })?;
            match step.dependence {
                Dependence::Thread => write!(f, "{waiter} holds {holds} and waits for {waits_for}")?,
                Dependence::Process if holder.pid == waiter.pid && waiter.tid == waiter.pid => {
                    write!(f, "{holder} holds {holds}, and its first thread waits for {waits_for}")?;
                }
                Dependence::Process => write!(f, "{holder} holds {holds}, and its thread {} waits for {waits_for}", waiter.tid)?,
                Dependence::Ancestor => write!(f, "{holder} holds {holds}, and its descendant {waiter} waits for {waits_for}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(pid: u32, holds: (&str, u32), waits_for: (&str, u32), dependence: Dependence) -> DeadlockStep {
        let address = |(store, id): (&str, u32)| LockAddress::new(store, LockId::new(id));
        let holder = Holder::of_process(pid).with_command("cp");
        let waiter = match dependence {
            Dependence::Ancestor => Holder::of_process(pid + 1).with_thread(pid + 1),
            _ => Holder::of_process(pid).with_thread(pid).with_command("cp"),
        };
        DeadlockStep { holds: address(holds), holder, waiter, waits_for: address(waits_for), dependence }
    }

    #[test]
    fn a_cycle_of_one_store_is_displayed_without_it() {
        let steps = vec![step(10, ("a", 1), ("a", 2), Dependence::Thread), step(20, ("a", 2), ("a", 1), Dependence::Thread)];
        let cycle = Deadlock { steps };
        assert!(cycle.is_certain());
        assert_eq!(
            cycle.to_string(),
            "pid 10 (cp) holds lock 1 and waits for lock 2; pid 20 (cp) holds lock 2 and waits for lock 1"
        );
    }

    #[test]
    fn an_uncertain_cycle_says_who_depends_on_whom() {
        let cycle = Deadlock { steps: vec![step(10, ("a", 1), ("a", 1), Dependence::Ancestor)] };
        assert!(!cycle.is_certain());
        assert_eq!(cycle.to_string(), "pid 10 (cp) holds lock 1, and its descendant pid 11 waits for lock 1");
        let cycle = Deadlock { steps: vec![step(10, ("a", 1), ("a", 1), Dependence::Process)] };
        assert_eq!(cycle.to_string(), "pid 10 (cp) holds lock 1, and its first thread waits for lock 1");
    }

    #[test]
    fn a_cycle_of_two_stores_is_displayed_with_both() {
        let steps = vec![step(10, ("a", 0), ("b", 0), Dependence::Thread), step(20, ("b", 0), ("a", 0), Dependence::Thread)];
        assert!(Deadlock { steps }.to_string().starts_with("pid 10 (cp) holds lock 0 of a and waits for lock 0 of b; "));
    }
}

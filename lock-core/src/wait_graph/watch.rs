//! Finds out during a wait whether it closes a cycle.
//!
//! # Exactly one member refuses
//! A thread that suspects a cycle first ends its wait, so that it is no waiter for the others. Then it reads the waits of all other members,
//! and refuses only if each of them still waits. Of two members that both refused, the one that ended its wait later would have been read as
//! a waiter by the other after that one's wait had ended, and the other way round, which is impossible. Two members that end their waits at
//! the same time may both see no cycle, and wait again. Each member therefore pauses for another time, the one that has closed the cycle
//! for the shortest.
//!
//! # The cycle is real
//! A cycle is read twice. A thread that waits cannot release its locks. So the cycle existed if each member was in the same wait before and
//! after the holders were read. Holders that are processes with other threads do not count, because such a thread may release the lock.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::fence;
use std::time::{Duration, Instant};

use super::agent::{Agent, Here};
use super::family;
use crate::event::event;
use crate::{Deadlock, DeadlockStep, Dependence, HeldBy, Holder, Lock, LockAddress, LockId, Manager, RawLock, Waiter};

/// The time from the start of a wait to its first check, and the shortest time between two checks, if the wait is to be refused.
const INTERVAL: Duration = Duration::from_millis(150);

/// The time from the start of a wait to its check, if only a warning is to be logged.
const WARNING: Duration = Duration::from_secs(1);

/// The time from a check that found a cycle to the one that confirms it, once and for each member that comes before this one.
const CONFIRMATION: Duration = Duration::from_millis(80);

/// The largest number of members that come before another one. Together with the interval, it bounds the time until the refusal.
const RANKS: u32 = 6;

/// The checks take at most this part of the wait: one tenth.
const COST: u32 = 10;

/// The largest difference between two lengths of a wait that is due to a coarse clock.
const COARSE: Duration = Duration::from_millis(10);

/// What the caller does after a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Advice {
    /// Continues the wait until the next check.
    Wait,
    /// Ends the wait, and then calls [`DeadlockWatch::confirm`].
    Withdraw,
}

/// The checks of one wait.
#[derive(Debug)]
pub(crate) struct DeadlockWatch {
    begin: Instant,
    refuses: bool,
    /// `None` if there is no further check.
    next: Option<Instant>,
    /// The cycle that the last check found.
    suspected: Option<Deadlock>,
}

impl DeadlockWatch {
    /// Starts to watch a wait. `refuses` says whether it is to be refused, or a warning to be logged.
    pub(crate) fn new(begin: Instant, refuses: bool) -> Self {
        let first = if refuses { INTERVAL } else { WARNING };
        Self { begin, refuses, next: begin.checked_add(first), suspected: None }
    }

    /// Returns the time of the next check.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Checks the wait for this lock if it is time.
    pub(crate) fn check(&mut self, lock: &Lock) -> Advice {
        let began = Instant::now();
        if self.next.is_none_or(|next| began < next) {
            return Advice::Wait;
        }
        if self.refuses && self.suspected.is_some() {
            return Advice::Withdraw;
        }
        let chain = Chain::of(lock);
        let rank = chain.as_ref().map_or(0, |chain| chain.rank(self.begin.elapsed()));
        // The member whose wait closes the cycle logs the warning. It checks once after that.
        let pause = match (&self.suspected, chain) {
            (None, Some(chain)) => {
                self.suspected = Some(chain.suspicion());
                Some(CONFIRMATION * (1 + rank))
            }
            (Some(suspected), Some(chain)) => {
                let is_same = |found: &Deadlock| found == suspected;
                if chain.cycle().as_ref().is_some_and(is_same) {
                    event!(warn, DEADLOCK, store = lock.store_url(), id = lock.id().get(), cycle = %suspected, "a wait for a lock is part of a deadlock");
                }
                None
            }
            (_, None) => self.refuses.then_some(INTERVAL),
        };
        let cost = began.elapsed() * COST;
        self.next = pause.and_then(|pause| Instant::now().checked_add(pause.max(cost) + shift()));
        Advice::Wait
    }

    /// Returns the cycle if each of its other members still waits. The calling thread has ended its wait, and does not wait again after the
    /// result `Some`.
    pub(crate) fn confirm(&mut self, lock: &Lock) -> Option<Deadlock> {
        // The records of the other waits are read after the end of this one has been recorded.
        fence(SeqCst);
        let (began, suspected) = (Instant::now(), self.suspected.take());
        let found = Chain::of(lock).and_then(Chain::cycle).filter(|found| Some(found) == suspected.as_ref());
        self.next = Instant::now().checked_add(INTERVAL.max(began.elapsed() * COST) + shift());
        found
    }
}

/// Returns the part of a pause that differs from thread to thread.
fn shift() -> Duration {
    let tid = nix::unistd::gettid().as_raw().unsigned_abs();
    Duration::from_millis(u64::from(tid.wrapping_mul(37) % 64))
}

/// The locks and waits that lead from the wait of the calling thread to a lock that it holds.
struct Chain<'a> {
    manager: &'a dyn Manager,
    store: &'a str,
    here: Here,
    steps: Vec<DeadlockStep>,
    waiters: Vec<Waiter>,
    read: Instant,
    records_waits: bool,
}

impl<'a> Chain<'a> {
    /// Follows the holders and their waits. Returns `None` if they do not lead back to the calling thread.
    fn of(lock: &'a Lock) -> Option<Self> {
        let store = lock.store();
        let manager = &**store.manager.as_ref()?;
        let here = Here::new();
        let me = here.this_thread();
        let first = living_holder(lock.raw())?;
        let read = Instant::now();
        let waits = if is_sole_owner(&here.agent(&first), &me, &here) { Vec::new() } else { manager.waiting().ok()?.waiters };
        let mut chain = Self {
            manager,
            store: &store.url,
            here,
            steps: Vec::new(),
            waiters: Vec::new(),
            read,
            records_waits: store.records_waits,
        };
        let (mut holds, mut holder) = (lock.id(), first);
        loop {
            let agent = chain.here.agent(&holder);
            if is_sole_owner(&agent, &me, &chain.here) {
                chain.add(holds, holder, me, lock.id());
                // The calling thread is the first member.
                chain.steps.rotate_right(1);
                return Some(chain);
            }
            let waiter = waits.iter().find(|waiter| is_sole_owner(&agent, &waiter.thread, &chain.here))?;
            if chain.steps.iter().any(|step| step.holds.id == waiter.id) || waiter.id == lock.id() {
                // The wait leads into a cycle of others.
                return None;
            }
            chain.add(holds, holder, waiter.thread.clone(), waiter.id);
            chain.waiters.push(waiter.clone());
            holds = waiter.id;
            holder = living_holder(&*manager.lock(holds).ok()?)?;
        }
    }

    fn add(&mut self, holds: LockId, holder: Holder, waiter: Holder, waits_for: LockId) {
        let address = |id| LockAddress::new(self.store, id);
        // The backend may know the command of only one of them.
        let waiter = if waiter.command.is_empty() { waiter.with_command(holder.command.clone()) } else { waiter };
        let (holds, waits_for) = (address(holds), address(waits_for));
        self.steps.push(DeadlockStep { holds, holder, waiter, waits_for, dependence: Dependence::Thread });
    }

    /// Returns the number of members that come before the calling thread: those that have waited for a shorter time. The last one has closed
    /// the cycle.
    fn rank(&self, waited: Duration) -> u32 {
        let before = self.waiters.iter().filter(|waiter| waiter.waited.is_some_and(|other| other < waited)).count();
        u32::try_from(before).unwrap_or(RANKS).min(RANKS)
    }

    /// Returns the cycle, which has been read once.
    fn suspicion(self) -> Deadlock {
        Deadlock::new(self.steps)
    }

    /// Returns the cycle if each other member is still in the wait that it was in before the holders were read.
    fn cycle(self) -> Option<Deadlock> {
        // Without records, a thread that is asleep at two times may have slept several times in one wait. The suspicion was the first
        // reading then.
        if self.records_waits && !self.waiters.is_empty() {
            let now = self.manager.waiting().ok()?.waiters;
            let elapsed = self.read.elapsed();
            let key = |waiter: &Waiter| (waiter.id, self.here.agent(&waiter.thread));
            let is_as_long = |waiter: &Waiter| waiter.waited.is_none_or(|waited| waited + COARSE >= elapsed);
            let is_same = |before: &Waiter| now.iter().any(|now| key(now) == key(before) && is_as_long(now));
            if !self.waiters.iter().all(is_same) {
                return None;
            }
        }
        Some(self.suspicion())
    }
}

/// Returns whether no other thread than this one may release the lock of a holder.
fn is_sole_owner(holder: &Agent, thread: &Holder, here: &Here) -> bool {
    holder.is_waiter(&here.agent(thread))
        && (!holder.is_process() || here.sees(thread) && family::has_one_thread(thread.pid, thread.start_time))
}

fn living_holder(lock: &dyn RawLock) -> Option<Holder> {
    match lock.held_by() {
        HeldBy::Holder(holder) => Some(holder),
        HeldBy::Dead(_) | HeldBy::Free | HeldBy::Unknown { .. } => None,
    }
}

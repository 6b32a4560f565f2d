//! Excludes the threads of one process from a semaphore.
//!
//! The kernel keeps undo adjustments per process, so it does not know which thread has taken a unit. A thread enters the gate of
//! its process before it uses the semaphore, and leaves it when it has given the unit back or has failed to acquire the lock. If it
//! acquires the lock for the process, the process is inside, and any thread may leave for it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lock_core::PerProcess;
use lock_core::{Deadline, Error, LockId, Result, StoreId};
use lock_table::Owner;

static GATES: PerProcess<Mutex<Gates>> = PerProcess::new();

/// The gates that handles of this process use.
#[derive(Debug, Default)]
struct Gates {
    gates: HashMap<(StoreId, (u64, u64), LockId), Weak<ProcessGate>>,
    /// The number of entries above which unused entries are removed.
    limit: usize,
}

/// The gate of one lock in one process. All handles of the lock share it.
#[derive(Debug, Default)]
pub(crate) struct ProcessGate {
    /// [`Inside`] or 0, and the flag [`WAITING`]; or [`RESERVED`].
    ///
    /// Only the thread inside, or a thread of the process inside, changes the word until it leaves. A reserved gate is changed under
    /// `contended`.
    state: AtomicU32,
    /// Number of threads that wait at the gate.
    queue: AtomicU32,
    contended: Mutex<Contended>,
    changed: Condvar,
}

/// The part of a gate that only waiting threads use.
#[derive(Debug, Default)]
struct Contended {
    /// The tickets of the threads that wait at the gate, and when they began to wait, in that order.
    queue: VecDeque<(u64, Instant)>,
    last_ticket: u64,
    /// A state of the lock, and when a thread inside first saw it; see [`GateGuard::unchanged_for`].
    seen: Option<([u64; 2], Instant)>,
}

/// The thread inside waits for the lock. Thread ids are below 2²².
const WAITING: u32 = 1 << 22;

/// The gate is kept for the first thread of its queue.
const RESERVED: u32 = 1 << 24;

/// The wait after which a gate is kept for a thread.
///
/// Without that, a thread that enters again immediately keeps others out for any length of time. Keeping each gate would cost a switch to
/// another thread at each release.
const STARVED: Duration = Duration::from_millis(1);

/// A thread inside a gate, or the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inside(u32);

impl Inside {
    /// The process, whose number is not a thread id.
    const PROCESS: Self = Self(1 << 23);

    /// Returns the thread of an owner word, or the process if the word has no thread.
    #[inline]
    pub(crate) fn of(owner: Owner) -> Self {
        match owner.tid() {
            0 => Self::PROCESS,
            tid => Self(tid),
        }
    }
}

/// The sleep while the thread inside makes an attempt or releases the lock.
///
/// Both take one or two system calls.
const ATTEMPT_SLEEP: Duration = Duration::from_micros(100);

/// The longest sleep of a thread that has just joined the queue.
///
/// A thread that leaves stores the state and then loads the length of the queue without a barrier in between, because a barrier
/// costs as much as the rest of the gate. So it may miss a thread that is joining the queue. It cannot miss a thread that joined
/// 1 ms ago.
const FIRST_SLEEP: Duration = Duration::from_millis(1);

impl ProcessGate {
    /// Returns the gate of a lock in this process.
    ///
    /// A store is identified by its id and by the device and inode of its file.
    pub(crate) fn of(store: StoreId, file: (u64, u64), id: LockId) -> Result<Arc<Self>> {
        let gates = GATES.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut gates = gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.gates.get(&(store, file, id)).and_then(Weak::upgrade) {
            return Ok(gate);
        }
        if gates.gates.len() >= gates.limit {
            gates.gates.retain(|_, gate| gate.strong_count() > 0);
            gates.limit = 64.max(gates.gates.len() * 2);
        }
        let gate = Arc::<Self>::default();
        gates.gates.insert((store, file, id), Arc::downgrade(&gate));
        Ok(gate)
    }

    /// Enters the gate with the thread `caller`; then `me` is inside: the thread, or its process. Returns `None` if the deadline passes
    /// first.
    ///
    /// While the thread inside makes an attempt, this waits for the result even after the deadline. Otherwise a free lock could
    /// seem busy. `is_held` returns whether this process has the lock. `before_sleep` is called before each sleep for an owner.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`](lock_core::ErrorKind::AlreadyHeld) if the thread `caller` is inside.
    #[inline]
    pub(crate) fn enter(
        &self,
        caller: Inside,
        me: Inside,
        deadline: Deadline,
        is_held: impl Fn() -> bool,
        before_sleep: impl FnMut(),
    ) -> Result<Option<GateGuard<'_>>> {
        match self.state.compare_exchange(0, me.0, Acquire, Relaxed) {
            Ok(_) => Ok(Some(GateGuard { gate: self, me })),
            Err(_) => self.enter_slowly(caller, me, deadline, is_held, before_sleep),
        }
    }

    #[cold]
    fn enter_slowly(
        &self,
        caller: Inside,
        me: Inside,
        deadline: Deadline,
        is_held: impl Fn() -> bool,
        mut before_sleep: impl FnMut(),
    ) -> Result<Option<GateGuard<'_>>> {
        let mut contended = self.contended();
        let mut queued = None;
        loop {
            let state = self.state.load(SeqCst);
            if state & !WAITING == caller.0 {
                return Err(Error::already_held());
            }
            // A reserved gate does not change while this thread has `contended`.
            if state == 0 || (state == RESERVED && queued.is_some_and(|ticket| contended.is_first(ticket))) {
                if self.state.compare_exchange(state, me.0, Acquire, Relaxed).is_ok() {
                    self.leave_queue(&mut contended, queued);
                    return Ok(Some(GateGuard { gate: self, me }));
                }
                continue;
            }
            let is_busy = state & (WAITING | RESERVED) != 0 || is_held();
            let left = deadline.remaining();
            if is_busy && left.is_some_and(|left| left.is_zero()) {
                self.leave_queue(&mut contended, queued);
                return Ok(None);
            }
            let Some(ticket) = queued else {
                // A thread that leaves after this sees the queue. It locks `contended` before it wakes the queue.
                queued = Some(self.join_queue(&mut contended));
                continue;
            };
            let sleep = match left {
                _ if !is_busy => Some(ATTEMPT_SLEEP),
                left if contended.waited(ticket) < FIRST_SLEEP => Some(left.map_or(FIRST_SLEEP, |left| left.min(FIRST_SLEEP))),
                left => left,
            };
            if is_busy {
                before_sleep();
            }
            contended = match sleep {
                Some(sleep) => self.changed.wait_timeout(contended, sleep).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(contended).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn join_queue(&self, contended: &mut Contended) -> u64 {
        self.queue.fetch_add(1, SeqCst);
        contended.last_ticket += 1;
        contended.queue.push_back((contended.last_ticket, Instant::now()));
        contended.last_ticket
    }

    /// Removes a thread from the queue, if it is there. It is not the first one of a reserved gate, or has entered that.
    fn leave_queue(&self, contended: &mut Contended, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            contended.queue.retain(|(other, _)| *other != ticket);
            self.queue.fetch_sub(1, SeqCst);
        }
    }

    /// Leaves the gate, if `me` is inside.
    #[inline]
    pub(crate) fn leave(&self, me: Inside) {
        if self.state.load(Relaxed) & !WAITING == me.0 {
            self.state.store(0, Release);
            self.wake();
        }
    }

    /// Wakes all threads in the queue, because they have different deadlines. Keeps the gate for the first one if that is starved.
    #[inline]
    fn wake(&self) {
        if self.queue() > 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let contended = self.contended();
        if contended.queue.front().is_some_and(|(_, since)| since.elapsed() >= STARVED) {
            // Another thread may have entered since this one has left, or this one waits inside.
            let _ = self.state.compare_exchange(0, RESERVED, SeqCst, Relaxed);
        }
        drop(contended);
        self.changed.notify_all();
    }

    /// Returns the number of threads that wait at the gate.
    #[inline]
    pub(crate) fn queue(&self) -> u32 {
        self.queue.load(Relaxed)
    }

    fn contended(&self) -> MutexGuard<'_, Contended> {
        self.contended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contended {
    fn is_first(&self, ticket: u64) -> bool {
        self.queue.front().is_some_and(|(first, _)| *first == ticket)
    }

    /// Returns for how long the thread with this ticket has waited.
    fn waited(&self, ticket: u64) -> Duration {
        let place = self.queue.iter().find(|(other, _)| *other == ticket);
        place.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

/// A thread inside a gate. It leaves the gate when this is dropped.
#[derive(Debug)]
pub(crate) struct GateGuard<'a> {
    gate: &'a ProcessGate,
    me: Inside,
}

impl GateGuard<'_> {
    /// Marks that this thread waits for the lock.
    ///
    /// A thread at the gate then does not wait for the result of an attempt.
    pub(crate) fn mark_waiting(&self) {
        if self.gate.state.load(Relaxed) & WAITING == 0 {
            self.gate.state.fetch_or(WAITING, SeqCst);
            self.gate.wake();
        }
    }

    /// Returns for how long this process has seen the lock in this state.
    ///
    /// Seeing the lock in another state restarts the time.
    pub(crate) fn unchanged_for(&self, state: [u64; 2]) -> Duration {
        let mut contended = self.gate.contended();
        match contended.seen {
            Some((seen, since)) if seen == state => since.elapsed(),
            _ => {
                contended.seen = Some((state, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// Keeps the thread or process inside until [`ProcessGate::leave`] is called.
    ///
    /// Called by a thread that acquired the lock.
    #[inline]
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for GateGuard<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.me);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use lock_core::ErrorKind;

    const ME: Inside = Inside(7);
    const OTHER: Inside = Inside(8);

    fn enters(gate: &ProcessGate, deadline: Deadline, is_held: bool) -> bool {
        gate.enter(OTHER, OTHER, deadline, || is_held, || {}).unwrap().is_some()
    }

    #[test]
    fn all_handles_of_a_lock_share_one_gate() {
        let of = |store, inode, id| ProcessGate::of(StoreId::new(store), (1, inode), LockId::new(id)).unwrap();
        let (first, second) = (of(7, 2, 1), of(7, 2, 1));
        assert!(Arc::ptr_eq(&first, &second));
        for other in [of(7, 2, 2), of(8, 2, 1), of(7, 3, 1)] {
            assert!(!Arc::ptr_eq(&first, &other));
        }
    }

    #[test]
    fn the_thread_inside_keeps_others_out_until_it_leaves() {
        let gate = ProcessGate::default();
        gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap().keep();
        assert!(!enters(&gate, Deadline::Now, true));
        assert!(!enters(&gate, Deadline::after(Duration::from_millis(5)), true));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| enters(&gate, Deadline::Never, true));
            while gate.queue() == 0 {
                thread::yield_now();
            }
            gate.leave(ME);
            assert!(waiting.join().unwrap());
        });
        assert!(enters(&gate, Deadline::Now, true));
        assert_eq!(gate.queue(), 0);
    }

    #[test]
    fn a_gate_is_kept_for_a_thread_that_has_waited_for_long() {
        let gate = ProcessGate::default();
        gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap().keep();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.enter(OTHER, OTHER, Deadline::Never, || true, || {}).unwrap().unwrap().keep());
            while gate.contended().queue.front().is_none_or(|(_, since)| since.elapsed() < STARVED) {
                thread::yield_now();
            }
            for round in 0..100 {
                gate.leave(ME);
                let again = gate.enter(ME, ME, Deadline::Now, || true, || {}).unwrap();
                assert!(again.is_none(), "the thread inside overtook a waiter in round {round}");
            }
            waiting.join().unwrap();
        });
        gate.leave(OTHER);
        assert!(enters(&gate, Deadline::Now, true));
        assert_eq!(gate.queue(), 0);
    }

    #[test]
    fn a_gate_is_kept_for_the_next_thread_after_a_time_out() {
        let gate = ProcessGate::default();
        gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap().keep();
        assert!(!enters(&gate, Deadline::after(STARVED * 2), true));
        assert_eq!(gate.queue(), 0);
        gate.leave(ME);
        gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap().keep();
        thread::scope(|scope| {
            let short = scope.spawn(|| enters(&gate, Deadline::after(STARVED * 3), true));
            let long = scope.spawn(|| enters(&gate, Deadline::Never, true));
            assert!(!short.join().unwrap());
            gate.leave(ME);
            assert!(long.join().unwrap());
        });
        assert_eq!((gate.queue(), gate.state.load(Relaxed)), (0, 0));
    }

    #[test]
    fn threads_with_short_deadlines_leave_a_gate_that_is_free() {
        let gate = ProcessGate::default();
        let is_held = AtomicBool::new(false);
        let contend = |me: Inside| {
            for round in 0..300 {
                let deadline = Deadline::after(Duration::from_micros(u64::from(me.0) * 70 * (round % 8)));
                let entered = gate.enter(me, me, deadline, || is_held.load(Acquire), || {}).unwrap();
                let Some(inside) = entered else { continue };
                assert!(!is_held.swap(true, SeqCst), "two threads are inside");
                thread::sleep(Duration::from_micros(u64::from(me.0) * 20));
                is_held.store(false, SeqCst);
                drop(inside);
            }
        };
        thread::scope(|scope| {
            for tid in 1..8 {
                let contend = &contend;
                scope.spawn(move || contend(Inside(tid)));
            }
        });
        assert_eq!((gate.queue(), gate.state.load(Relaxed)), (0, 0));
        assert!(gate.contended().queue.is_empty());
    }

    #[test]
    fn a_thread_inside_is_refused_and_another_thread_cannot_leave_for_it() {
        let gate = ProcessGate::default();
        gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap().keep();
        let error = gate.enter(ME, ME, Deadline::Never, || true, || {}).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::AlreadyHeld), "{error}");
        gate.leave(OTHER);
        assert!(!enters(&gate, Deadline::Now, true));
    }

    #[test]
    fn a_process_inside_keeps_its_threads_out_and_any_of_them_leaves_for_it() {
        let gate = ProcessGate::default();
        gate.enter(ME, Inside::PROCESS, Deadline::Now, || false, || {}).unwrap().unwrap().keep();
        assert!(gate.enter(ME, Inside::PROCESS, Deadline::Now, || true, || {}).unwrap().is_none());
        assert!(!enters(&gate, Deadline::Now, true));
        thread::scope(|scope| scope.spawn(|| gate.leave(Inside::PROCESS)).join().unwrap());
        gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap().keep();
        let error = gate.enter(ME, Inside::PROCESS, Deadline::Never, || true, || {}).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::AlreadyHeld), "{error}");
    }

    #[test]
    fn an_attempt_of_the_thread_inside_does_not_count_as_holding_the_lock() {
        let gate = ProcessGate::default();
        let trying = gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap();
        let is_held = AtomicBool::new(false);
        let another = || gate.enter(OTHER, OTHER, Deadline::Now, || is_held.load(Acquire), || {}).unwrap().is_some();
        thread::scope(|scope| {
            let other = scope.spawn(another);
            while gate.queue() == 0 {
                thread::yield_now();
            }
            drop(trying);
            assert!(other.join().unwrap(), "the lock was busy after a failed attempt of another thread");
            // The thread inside acquires the lock or begins to wait.
            let trying = gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap();
            for succeed in [true, false] {
                let other = scope.spawn(another);
                while gate.queue() == 0 {
                    thread::yield_now();
                }
                is_held.store(succeed, Release);
                if !succeed {
                    trying.mark_waiting();
                }
                assert!(!other.join().unwrap());
                is_held.store(false, Release);
            }
        });
    }

    #[test]
    fn a_state_is_unchanged_until_another_state_is_seen() {
        let gate = ProcessGate::default();
        let guard = gate.enter(ME, ME, Deadline::Now, || false, || {}).unwrap().unwrap();
        assert_eq!(guard.unchanged_for([1, 1]), Duration::ZERO);
        while guard.unchanged_for([1, 1]).is_zero() {}
        drop(guard);
        let guard = gate.enter(OTHER, OTHER, Deadline::Now, || false, || {}).unwrap().unwrap();
        assert!(!guard.unchanged_for([1, 1]).is_zero());
        assert_eq!(guard.unchanged_for([1, 2]), Duration::ZERO);
        assert_eq!(guard.unchanged_for([1, 1]), Duration::ZERO);
    }

    #[test]
    fn gates_without_a_handle_are_removed() {
        let kept = ProcessGate::of(StoreId::new(5), (1, 1), LockId::new(0)).unwrap();
        for id in 1..10_000 {
            ProcessGate::of(StoreId::new(5), (1, 1), LockId::new(id)).unwrap();
        }
        let gates = GATES.get().unwrap().lock().unwrap();
        assert!(gates.gates.len() < 1000, "{}", gates.gates.len());
        drop(gates);
        assert!(Arc::ptr_eq(&kept, &ProcessGate::of(StoreId::new(5), (1, 1), LockId::new(0)).unwrap()));
    }
}

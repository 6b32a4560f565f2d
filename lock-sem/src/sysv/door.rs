//! What lets one thread of a process at a time use a semaphore.
//!
//! To the kernel, what is to be undone belongs to the process: it cannot tell which of two threads has taken a unit. So a thread
//! goes through the process's own door first, and stays inside until it has given the unit back, or has given up.

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lock_core::PerProcess;
use lock_core::{Deadline, ErrorKind, LockId, Result, StoreId};

static DOORS: PerProcess<Mutex<Doors>> = PerProcess::new();

/// The doors that this process's handles go through.
#[derive(Debug, Default)]
struct Doors {
    doors: HashMap<(StoreId, (u64, u64), LockId), Weak<Door>>,
    /// When there are as many, those that no handle has any more are thrown away.
    limit: usize,
}

/// The door of one lock in one process, whichever handles its threads have.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// The thread inside, 0 for none, and whether it is [`SETTLED`]. Only that thread changes it, until it leaves.
    state: AtomicU32,
    /// How many threads wait in front.
    queue: AtomicU32,
    slow: Mutex<Slow>,
    changed: Condvar,
}

/// What only threads that wait need.
#[derive(Debug, Default)]
struct Slow {
    /// When the thread inside first saw the lock in this state; see [`Entered::age_of`].
    seen: Option<([u64; 2], Instant)>,
}

/// The thread inside waits for the lock, and may do so for long. Thread ids are below 2²².
const SETTLED: u32 = 1 << 22;

/// How long to sleep while the thread inside is about to acquire the lock, or not, or to release it: that takes a system call or
/// two.
const MOMENT: Duration = Duration::from_micros(100);

/// The longest sleep of a thread that has just joined the queue. A thread that leaves stores that and then loads the length of
/// the queue, without a barrier in between, which would cost as much as the rest of the door: it may miss a thread that has just
/// joined the queue. After this time it cannot.
const FIRST_SLEEP: Duration = Duration::from_millis(1);

impl Door {
    /// The door of this lock in this process. A store is known by its identity and its file.
    pub(crate) fn of(store: StoreId, file: (u64, u64), id: LockId) -> Result<Arc<Self>> {
        let doors = DOORS.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = doors.doors.get(&(store, file, id)).and_then(Weak::upgrade) {
            return Ok(door);
        }
        if doors.doors.len() >= doors.limit {
            doors.doors.retain(|_, door| door.strong_count() > 0);
            doors.limit = 64.max(doors.doors.len() * 2);
        }
        let door = Arc::<Self>::default();
        doors.doors.insert((store, file, id), Arc::downgrade(&door));
        Ok(door)
    }

    /// Lets a thread in, if that is possible by the deadline. While another thread tries the lock, it waits for the result,
    /// whatever the deadline: else a lock could seem busy that no thread has. `is_held` says whether this process has the lock.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyHeld`] when this thread is inside.
    #[inline]
    pub(crate) fn enter(&self, me: u32, deadline: Deadline, is_held: impl Fn() -> bool) -> Result<Option<Entered<'_>>> {
        match self.state.compare_exchange(0, me, Acquire, Relaxed) {
            Ok(_) => Ok(Some(Entered { door: self, me })),
            Err(_) => self.enter_slowly(me, deadline, is_held),
        }
    }

    #[cold]
    fn enter_slowly(&self, me: u32, deadline: Deadline, is_held: impl Fn() -> bool) -> Result<Option<Entered<'_>>> {
        let mut slow = self.slow();
        let mut queued = None;
        loop {
            let state = self.state.load(SeqCst);
            if state & !SETTLED == me {
                return Err(ErrorKind::AlreadyHeld.into());
            }
            if state == 0 {
                if self.state.compare_exchange(0, me, Acquire, Relaxed).is_ok() {
                    return Ok(Some(Entered { door: self, me }));
                }
                continue;
            }
            let stays = state & SETTLED != 0 || is_held();
            let left = deadline.remaining();
            if stays && left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            let Some(Queued { since, .. }) = &queued else {
                // From here on a thread that leaves sees that another one waits, and has to lock `slow` to wake it.
                queued = Some(Queued::new(&self.queue));
                continue;
            };
            let sleep = match left {
                _ if !stays => Some(MOMENT),
                left if since.elapsed() < FIRST_SLEEP => Some(left.map_or(FIRST_SLEEP, |left| left.min(FIRST_SLEEP))),
                left => left,
            };
            slow = match sleep {
                Some(sleep) => self.changed.wait_timeout(slow, sleep).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(slow).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Lets the thread out, if it is inside.
    #[inline]
    pub(crate) fn leave(&self, me: u32) {
        if self.state.load(Relaxed) & !SETTLED == me {
            self.state.store(0, Release);
            self.wake();
        }
    }

    /// Wakes the threads in front. All: they wait for different things.
    #[inline]
    fn wake(&self) {
        if self.queue() > 0 {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        drop(self.slow());
        self.changed.notify_all();
    }

    /// How many threads wait in front of it.
    #[inline]
    pub(crate) fn queue(&self) -> u32 {
        self.queue.load(Relaxed)
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that waits in front of a door, counted until this is dropped.
#[derive(Debug)]
struct Queued<'a> {
    queue: &'a AtomicU32,
    since: Instant,
}

impl<'a> Queued<'a> {
    fn new(queue: &'a AtomicU32) -> Self {
        queue.fetch_add(1, SeqCst);
        Self { queue, since: Instant::now() }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.queue.fetch_sub(1, SeqCst);
    }
}

/// A thread that is inside, and leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    door: &'a Door,
    me: u32,
}

impl Entered<'_> {
    /// It is going to wait inside.
    pub(crate) fn settle(&self) {
        if self.door.state.load(Relaxed) & SETTLED == 0 {
            self.door.state.fetch_or(SETTLED, SeqCst);
            self.door.wake();
        }
    }

    /// For how long threads of this process have seen the lock in this state, without another state in between.
    pub(crate) fn age_of(&self, state: [u64; 2]) -> Duration {
        let mut slow = self.door.slow();
        match slow.seen {
            Some((seen, since)) if seen == state => since.elapsed(),
            _ => {
                slow.seen = Some((state, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// It has the lock, and stays until it calls [`Door::leave`].
    #[inline]
    pub(crate) fn stay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.door.leave(self.me);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;

    const ME: u32 = 7;
    const OTHER: u32 = 8;

    fn enters(door: &Door, deadline: Deadline, is_held: bool) -> bool {
        door.enter(OTHER, deadline, || is_held).unwrap().is_some()
    }

    #[test]
    fn all_handles_of_a_lock_go_through_one_door() {
        let of = |store, inode, id| Door::of(StoreId::new(store), (1, inode), LockId::new(id)).unwrap();
        let (first, second) = (of(7, 2, 1), of(7, 2, 1));
        assert!(Arc::ptr_eq(&first, &second));
        for other in [of(7, 2, 2), of(8, 2, 1), of(7, 3, 1)] {
            assert!(!Arc::ptr_eq(&first, &other));
        }
    }

    #[test]
    fn the_thread_inside_keeps_others_out_until_it_leaves() {
        let door = Door::default();
        door.enter(ME, Deadline::Now, || false).unwrap().unwrap().stay();
        assert!(!enters(&door, Deadline::Now, true));
        assert!(!enters(&door, Deadline::after(Duration::from_millis(5)), true));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| enters(&door, Deadline::Never, true));
            while door.queue() == 0 {
                thread::yield_now();
            }
            door.leave(ME);
            assert!(waiting.join().unwrap());
        });
        assert!(enters(&door, Deadline::Now, true));
        assert_eq!(door.queue(), 0);
    }

    #[test]
    fn a_thread_that_is_inside_is_refused_and_no_other_can_let_it_out() {
        let door = Door::default();
        door.enter(ME, Deadline::Now, || false).unwrap().unwrap().stay();
        let error = door.enter(ME, Deadline::Never, || true).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::AlreadyHeld), "{error}");
        door.leave(OTHER);
        assert!(!enters(&door, Deadline::Now, true));
    }

    #[test]
    fn an_attempt_is_waited_for_and_not_taken_for_a_holder() {
        let door = Door::default();
        let trying = door.enter(ME, Deadline::Now, || false).unwrap().unwrap();
        let is_held = AtomicBool::new(false);
        let another = || door.enter(OTHER, Deadline::Now, || is_held.load(Acquire)).unwrap().is_some();
        thread::scope(|scope| {
            let other = scope.spawn(another);
            while door.queue() == 0 {
                thread::yield_now();
            }
            drop(trying);
            assert!(other.join().unwrap(), "the attempt failed, and the lock was called busy");
            // The attempt succeeds, or is going to wait.
            let trying = door.enter(ME, Deadline::Now, || false).unwrap().unwrap();
            for succeed in [true, false] {
                let other = scope.spawn(another);
                while door.queue() == 0 {
                    thread::yield_now();
                }
                is_held.store(succeed, Release);
                if !succeed {
                    trying.settle();
                }
                assert!(!other.join().unwrap());
                is_held.store(false, Release);
            }
        });
    }

    #[test]
    fn a_state_has_an_age_while_it_is_the_same() {
        let door = Door::default();
        let entered = door.enter(ME, Deadline::Now, || false).unwrap().unwrap();
        assert_eq!(entered.age_of([1, 1]), Duration::ZERO);
        while entered.age_of([1, 1]).is_zero() {}
        drop(entered);
        let entered = door.enter(OTHER, Deadline::Now, || false).unwrap().unwrap();
        assert!(!entered.age_of([1, 1]).is_zero());
        assert_eq!(entered.age_of([1, 2]), Duration::ZERO);
        assert_eq!(entered.age_of([1, 1]), Duration::ZERO);
    }

    #[test]
    fn doors_that_no_handle_has_are_thrown_away() {
        let kept = Door::of(StoreId::new(5), (1, 1), LockId::new(0)).unwrap();
        for id in 1..10_000 {
            Door::of(StoreId::new(5), (1, 1), LockId::new(id)).unwrap();
        }
        let doors = DOORS.get().unwrap().lock().unwrap();
        assert!(doors.doors.len() < 1000, "{}", doors.doors.len());
        drop(doors);
        assert!(Arc::ptr_eq(&kept, &Door::of(StoreId::new(5), (1, 1), LockId::new(0)).unwrap()));
    }
}

//! What lets one thread of a process at a time be at a semaphore.
//!
//! To the kernel, what is to be undone belongs to the process: it cannot tell which of two threads has taken a unit. So a thread goes
//! through the process's own door first, and stays inside until it has given the unit back, or has gone without it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use lock_core::fork::PerProcess;
use lock_core::{Deadline, LockId, Result, StoreId};

static DOORS: PerProcess<Mutex<Doors>> = PerProcess::new();

/// The doors that this process's handles go through.
#[derive(Debug, Default)]
struct Doors {
    doors: HashMap<(StoreId, LockId), Weak<Door>>,
    /// When there are as many, those that nobody has any more are thrown away.
    limit: usize,
}

/// The door of one lock in one process, whichever handles its threads have.
#[derive(Debug, Default)]
pub(crate) struct Door {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    inside: Inside,
    /// Threads in front of the door.
    queue: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Inside {
    #[default]
    Nobody,
    /// Somebody who does not wait in there: soon it is known what comes of it.
    Trying,
    /// Somebody who waits for the lock, or has it.
    Staying,
}

impl Door {
    /// The door of this lock in this process.
    pub(crate) fn of(store: StoreId, id: LockId) -> Result<Arc<Self>> {
        let doors = DOORS.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut doors = doors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = doors.doors.get(&(store, id)).and_then(Weak::upgrade) {
            return Ok(door);
        }
        if doors.doors.len() >= doors.limit {
            doors.doors.retain(|_, door| door.strong_count() > 0);
            doors.limit = 64.max(doors.doors.len() * 2);
        }
        let door = Arc::<Self>::default();
        doors.doors.insert((store, id), Arc::downgrade(&door));
        Ok(door)
    }

    /// Goes in, if that is possible by the deadline. While somebody else tries, it waits for what comes of that, whatever the
    /// deadline: else a lock could seem busy that nobody has.
    pub(crate) fn enter(&self, deadline: Deadline) -> Option<Entered<'_>> {
        let mut state = self.state();
        while state.inside != Inside::Nobody {
            let left = deadline.remaining();
            let staying = state.inside == Inside::Staying;
            if staying && left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            state.queue += 1;
            state = match left {
                Some(left) if staying => self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                _ => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.queue -= 1;
        }
        state.inside = Inside::Trying;
        Some(Entered(self))
    }

    /// Comes out: for who stayed.
    pub(crate) fn leave(&self) {
        self.set(Inside::Nobody);
    }

    /// How many threads wait in front of it.
    pub(crate) fn queue(&self) -> u32 {
        self.state().queue
    }

    fn set(&self, inside: Inside) {
        let mut state = self.state();
        state.inside = inside;
        if state.queue > 0 {
            // All: those who do not wait for somebody who stays have to hear of that, too.
            self.bell.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that went in, and comes out when this is dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a Door);

impl Entered<'_> {
    /// It is going to wait in there.
    pub(crate) fn settle(&self) {
        self.0.set(Inside::Staying);
    }

    /// It has the lock, and stays until it calls [`Door::leave`].
    pub(crate) fn stay(self) {
        self.settle();
        std::mem::forget(self);
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_handles_of_a_lock_go_through_one_door() {
        let of = |store, id| Door::of(StoreId::new(store), LockId::new(id)).unwrap();
        let (first, second) = (of(7, 1), of(7, 1));
        assert!(Arc::ptr_eq(&first, &second));
        assert!(!Arc::ptr_eq(&first, &of(7, 2)) && !Arc::ptr_eq(&first, &of(8, 1)));
    }

    #[test]
    fn whoever_stays_keeps_others_out_until_it_leaves() {
        let door = Door::default();
        door.enter(Deadline::Now).unwrap().stay();
        assert!(door.enter(Deadline::Now).is_none());
        assert!(door.enter(Deadline::after(Duration::from_millis(5))).is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| door.enter(Deadline::Never).is_some());
            while door.queue() == 0 {
                thread::yield_now();
            }
            door.leave();
            assert!(waiting.join().unwrap());
        });
        assert!(door.enter(Deadline::Now).is_some());
    }

    #[test]
    fn an_attempt_that_is_under_way_is_waited_for_and_not_taken_for_a_holder() {
        let door = Door::default();
        let trying = door.enter(Deadline::Now).unwrap();
        thread::scope(|scope| {
            let other = scope.spawn(|| door.enter(Deadline::Now).is_some());
            while door.queue() == 0 {
                thread::yield_now();
            }
            drop(trying);
            assert!(other.join().unwrap(), "the attempt came to nothing, and the lock was called busy");
            let trying = door.enter(Deadline::Now).unwrap();
            let other = scope.spawn(|| door.enter(Deadline::Now).is_some());
            while door.queue() == 0 {
                thread::yield_now();
            }
            trying.stay();
            assert!(!other.join().unwrap());
        });
    }

    #[test]
    fn doors_that_nobody_has_are_thrown_away() {
        let kept = Door::of(StoreId::new(5), LockId::new(0)).unwrap();
        for id in 1..10_000 {
            Door::of(StoreId::new(5), LockId::new(id)).unwrap();
        }
        let doors = DOORS.get().unwrap().lock().unwrap();
        assert!(doors.doors.len() < 1000, "{}", doors.doors.len());
        drop(doors);
        assert!(Arc::ptr_eq(&kept, &Door::of(StoreId::new(5), LockId::new(0)).unwrap()));
    }
}

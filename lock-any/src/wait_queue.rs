//! The queues of tasks that wait for a lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lock_core::{Lock, LockId, PerProcess, Result, StoreId};
use tokio::sync;

/// The tasks of this process that wait for a lock. The first one holds the mutex, which is fair.
pub(crate) type WaitQueue = sync::Mutex<()>;

static QUEUES: PerProcess<Mutex<Queues>> = PerProcess::new();

#[derive(Debug, Default)]
struct Queues {
    queues: HashMap<(StoreId, LockId), Weak<WaitQueue>>,
    /// The number of entries above which unused entries are removed.
    limit: usize,
}

/// Returns the queue of a lock if a task waits for the lock. All handles of a lock have the same queue.
pub(crate) fn find(lock: &Lock) -> Result<Option<Arc<WaitQueue>>> {
    Ok(queues()?.queues.get(&key(lock)).and_then(Weak::upgrade))
}

/// Returns the queue of a lock, and creates it if no task waits for the lock. The queue exists while a task refers to it.
pub(crate) fn find_or_create(lock: &Lock) -> Result<Arc<WaitQueue>> {
    let mut all = queues()?;
    if let Some(queue) = all.queues.get(&key(lock)).and_then(Weak::upgrade) {
        return Ok(queue);
    }
    if all.queues.len() >= all.limit {
        all.queues.retain(|_, queue| queue.strong_count() > 0);
        all.limit = 64.max(all.queues.len() * 2);
    }
    let queue = Arc::<WaitQueue>::default();
    all.queues.insert(key(lock), Arc::downgrade(&queue));
    Ok(queue)
}

fn key(lock: &Lock) -> (StoreId, LockId) {
    (lock.store_id(), lock.id())
}

fn queues() -> Result<MutexGuard<'static, Queues>> {
    let queues = QUEUES.get_or_try_init(|| Ok(Mutex::default()))?;
    Ok(queues.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lock_core::{Acquired, Deadline, Proof, RawLock, Result, StoreId};

    use super::*;

    #[derive(Debug)]
    struct Free;

    impl RawLock for Free {
        fn acquire(&self, _: Deadline) -> Result<Acquired> {
            Ok(Acquired::Held { token: 0 })
        }

        fn release(&self, _: Proof) -> Result<()> {
            Ok(())
        }
    }

    fn lock(store: u128) -> Lock {
        Lock::standalone(Arc::new(Free), "a lock", StoreId::new(store))
    }

    #[test]
    fn a_queue_is_that_of_all_handles_and_ends_with_its_last_task() {
        let (first, second, other) = (lock(1), lock(1), lock(2));
        assert!(find(&first).unwrap().is_none());
        let queue = find_or_create(&first).unwrap();
        assert!(Arc::ptr_eq(&queue, &find_or_create(&second).unwrap()));
        assert!(find(&other).unwrap().is_none());
        drop(queue);
        assert!(find(&second).unwrap().is_none());
    }

    #[test]
    fn entries_without_a_task_are_removed() {
        for store in 100..10_000 {
            drop(find_or_create(&lock(store)).unwrap());
        }
        assert!(queues().unwrap().queues.len() < 1000);
    }
}

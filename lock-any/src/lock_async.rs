use std::thread;
use std::time::Duration;

use lock_core::{Cancellation, Deadline, Error, Lock, Result, SendGuard, WaitOptions};
use tokio::sync::{OwnedMutexGuard, oneshot};

use crate::wait_queue;

/// Acquisitions that async tasks wait for. Feature `tokio`.
///
/// # Examples
#[cfg_attr(feature = "shm", doc = "```")]
#[cfg_attr(not(feature = "shm"), doc = "```ignore")]
/// use std::time::Duration;
/// use lock_any::{LockAsync, StoreUrl};
/// use tokio::time;
///
/// # let temporary = tempfile::tempdir().unwrap();
/// # let directory = temporary.path();
/// # tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap().block_on(async {
/// let store = lock_any::create(StoreUrl::builder("shm").path(directory.join("locks")))?;
/// let lock = store.allocate("an example")?;
///
/// let guard = lock.lock_async().await?;
/// // The task may continue on another thread, and still holds the lock.
/// time::sleep(Duration::from_millis(1)).await;
///
/// let waiting = time::timeout(Duration::from_millis(1), lock.lock_async());
/// assert!(waiting.await.is_err(), "another task holds the lock");
/// guard.unlock()?;
/// # Ok::<(), lock_any::Error>(())
/// # })?;
/// # Ok::<(), lock_any::Error>(())
/// ```
pub trait LockAsync: sealed::Sealed {
    /// Acquires the lock for the process as [`Lock::lock_send_owned`] does, and waits without blocking the thread.
    ///
    /// A free lock is acquired without a wait. Otherwise the task joins the queue of the tasks of this process that wait for the lock.
    /// The first task of the queue has a thread that waits, which exists only for that time. The queue is fair among its tasks, but not
    /// towards other processes and threads. [`Lock::waiters`] counts only that thread.
    ///
    /// # Cancellation
    /// Dropping the future ends the wait within 200 ms, and never leaves the lock held. A task that is dropped later, while it holds the
    /// guard, releases the lock without a report to the next owner.
    ///
    /// A future that is neither polled nor dropped keeps its place in the queue, and its thread may acquire the lock for it. Other tasks
    /// then wait for this future. So a program drops the future of a branch that `tokio::select!` did not take, before it waits again.
    ///
    /// # Errors
    /// As [`Lock::lock_send`]. The wait also needs a backend that claims [`Deadlines::Monotonic`](crate::Deadlines::Monotonic), and is
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) otherwise. [`ErrorKind::System`](crate::ErrorKind::System) or
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) when no thread can be created.
    ///
    /// A task whose thread holds the lock with a [`Guard`](crate::Guard) gets
    /// [`ErrorKind::AlreadyHeld`](crate::ErrorKind::AlreadyHeld) only if the queue is empty. Otherwise it joins the queue, and waits until
    /// that guard is dropped.
    ///
    /// # Panics
    /// Panics if the backend panics in the waiting thread.
    fn lock_async(&self) -> impl Future<Output = Result<SendGuard<'static>>> + Send;
}

impl LockAsync for Lock {
    async fn lock_async(&self) -> Result<SendGuard<'static>> {
        let queue = match wait_queue::find(self)? {
            Some(queue) => queue,
            None => {
                // Unlike an attempt, a wait without time is refused if this thread holds the lock with a `Guard`.
                match self.lock_send_owned_by(Deadline::after(Duration::ZERO)) {
                    Err(error) if error.is_timed_out() => wait_queue::find_or_create(self)?,
                    acquired => return acquired,
                }
            }
        };
        let turn = queue.lock_owned().await;
        match self.try_lock_send_owned()? {
            Some(guard) => Ok(guard),
            None => wait_in_thread(self.clone(), turn).await,
        }
    }
}

/// Waits for the lock in a new thread, as the first task of its queue.
///
/// The thread has the turn until it ends, also after the future is dropped. So many tasks that end together do not start a thread each.
async fn wait_in_thread(lock: Lock, turn: OwnedMutexGuard<()>) -> Result<SendGuard<'static>> {
    let cancellation = Cancellation::new();
    let _cancelled_on_drop = CancelOnDrop(cancellation.clone());
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        let acquired = lock.lock_send_owned_with(WaitOptions::new().cancellation(&cancellation));
        // A guard that no task receives is dropped, which releases the lock.
        drop(sender.send(acquired));
        drop(turn);
    };
    thread::Builder::new().name("lock-async".to_owned()).spawn(wait).map_err(|error| Error::system("pthread_create", error))?;
    receiver.await.expect("the thread sends a result unless it panics")
}

/// Cancels the wait when the future is dropped.
struct CancelOnDrop(Cancellation);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for lock_core::Lock {}
}

//! The inotify instance of this process, which reports closed lock files to waiting threads.
//!
//! All threads share one instance: a user may have few of them (128 by default), and the kernel needs several milliseconds to
//! close one. One of the waiting threads sleeps in `ppoll` and wakes the threads that its events concern. When it stops waiting,
//! another thread replaces it.

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lock_core::PerProcess;
use lock_core::{Error, Result};
use lock_table::descriptor;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::descriptors;

/// The watcher of this process. It is replaced if the program closes its descriptor.
static WATCHER: PerProcess<Mutex<Option<Arc<ReleaseWatcher>>>> = PerProcess::new();

/// An event on a watched file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Event {
    /// A read-only descriptor was closed.
    ///
    /// It did not have the lock; an owner closes one after its release to notify waiters.
    Notified,
    /// A descriptor was closed that may have had the lock.
    ///
    /// The kernel reports this just before it releases the lock.
    Closed,
}

/// A thread's interest in the events of one file.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: Arc<ReleaseWatcher>,
    wd: WatchDescriptor,
    /// Wakes the thread. It also identifies the thread's entry in the list of waiters.
    condvar: Arc<Condvar>,
}

#[derive(Debug)]
struct ReleaseWatcher {
    /// Never closed, because the program may have closed the number and opened another file with it.
    inotify: ManuallyDrop<Inotify>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiters: Vec<Waiter>,
    /// A thread sleeps in `ppoll`, or is about to deliver the events that it read.
    is_polled: bool,
}

#[derive(Debug)]
struct Waiter {
    wd: WatchDescriptor,
    condvar: Arc<Condvar>,
    /// The event since the last call of [`Watch::wait`].
    event: Option<Event>,
    is_asleep: bool,
}

impl Watch {
    /// Starts to watch a file for the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) or [`ErrorKind::System`](lock_core::ErrorKind::System) when the user has
    /// no inotify instance or watch left.
    pub(crate) fn new(file: &Path) -> Result<Self> {
        let watcher = ReleaseWatcher::of_this_process()?;
        let condvar = Arc::new(Condvar::new());
        let mut state = watcher.state();
        let mask = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_CLOSE_NOWRITE | AddWatchFlags::IN_DONT_FOLLOW;
        let wd = watcher.inotify.add_watch(file, mask).map_err(|errno| Error::system("inotify_add_watch", errno))?;
        state.waiters.push(Waiter { wd, condvar: Arc::clone(&condvar), event: None, is_asleep: false });
        drop(state);
        Ok(Self { watcher, wd, condvar })
    }

    /// Waits for an event since the last call, for at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Event> {
        let end = Instant::now() + timeout;
        let mut state = self.watcher.state();
        loop {
            let event = state.waiter(&self.condvar).event.take();
            let left = end.saturating_duration_since(Instant::now());
            if event.is_some() || left.is_zero() {
                state.replace_poller();
                return event;
            }
            if state.is_polled {
                state.waiter(&self.condvar).is_asleep = true;
                state = self.condvar.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                state.waiter(&self.condvar).is_asleep = false;
            } else {
                state.is_polled = true;
                drop(state);
                let events = self.watcher.poll(left);
                state = self.watcher.state();
                state.is_polled = false;
                events.iter().for_each(|event| state.deliver(event));
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.watcher.state();
        state.waiters.retain(|waiter| !Arc::ptr_eq(&waiter.condvar, &self.condvar));
        if state.waiters.iter().all(|waiter| waiter.wd != self.wd) && self.watcher.is_open() {
            // Fails when the file system was unmounted, which ended the watch.
            let _ = self.watcher.inotify.rm_watch(self.wd);
        }
    }
}

impl ReleaseWatcher {
    fn of_this_process() -> Result<Arc<Self>> {
        let present = WATCHER.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut present = present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = present.as_ref().filter(|watcher| watcher.is_open()) {
            return Ok(Arc::clone(watcher));
        }
        descriptors::free_reserved()?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let inotify = inotify.map_err(|errno| Error::system("inotify_init1", errno))?;
        descriptor::tag(&inotify)?;
        let watcher = Arc::new(Self { inotify: ManuallyDrop::new(inotify), state: Mutex::default() });
        Ok(Arc::clone(present.insert(watcher)))
    }

    /// Checks that the descriptor number still belongs to the inotify instance.
    fn is_open(&self) -> bool {
        descriptor::is_tagged(self.inotify.as_fd())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the pending events, after a sleep of at most `timeout` if there are none.
    ///
    /// A signal ends the sleep.
    fn poll(&self, timeout: Duration) -> Vec<InotifyEvent> {
        if !self.is_open() {
            std::thread::sleep(timeout);
            return Vec::new();
        }
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, Some(timeout.into()), None) {
            Ok(1..) if self.is_open() => self.inotify.read_events().unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

impl State {
    fn waiter(&mut self, condvar: &Arc<Condvar>) -> &mut Waiter {
        let mut waiters = self.waiters.iter_mut();
        waiters.find(|waiter| Arc::ptr_eq(&waiter.condvar, condvar)).expect("a watch is listed until it is dropped")
    }

    /// Records an event for the waiters of its file and wakes them.
    ///
    /// After a queue overflow, wakes all waiters.
    fn deliver(&mut self, reported: &InotifyEvent) {
        let overflow = reported.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        let event = if reported.mask.contains(AddWatchFlags::IN_CLOSE_WRITE) {
            Event::Closed
        } else if reported.mask.contains(AddWatchFlags::IN_CLOSE_NOWRITE) || overflow {
            Event::Notified
        } else {
            return;
        };
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.wd == reported.wd || overflow) {
            waiter.event = waiter.event.max(Some(event));
            if waiter.is_asleep {
                waiter.condvar.notify_one();
            }
        }
    }

    /// Wakes another waiter to sleep in `ppoll`, unless a thread does.
    fn replace_poller(&self) {
        if !self.is_polled
            && let Some(waiter) = self.waiters.iter().find(|waiter| waiter.is_asleep)
        {
            waiter.condvar.notify_one();
        }
    }
}

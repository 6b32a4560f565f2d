//! Who waits for which file to be closed: the one inotify instance of a process, shared by its threads.
//!
//! One instance, because a user may have few (128), and because closing one takes the kernel several milliseconds. Of the threads that
//! wait, one sleeps in `ppoll` and rings the bells of those that its events are for; when it goes, another one takes its place.

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

/// A new one takes the place of one whose descriptor the program closed.
static HUB: PerProcess<Mutex<Option<Arc<Hub>>>> = PerProcess::new();

/// What happened to a file while one waited.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum News {
    /// Nothing that is known of.
    None,
    /// A descriptor was closed that cannot have had the lock: a call to look.
    Called,
    /// A descriptor was closed that may have had the lock. The kernel says so right before it drops the lock.
    Closed,
}

/// A thread's wish to hear of a file.
#[derive(Debug)]
pub(crate) struct Watch {
    hub: Arc<Hub>,
    wd: WatchDescriptor,
    bell: Arc<Condvar>,
}

#[derive(Debug)]
struct Hub {
    /// Never closed, because the program may have closed the number and opened something else.
    inotify: ManuallyDrop<Inotify>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiters: Vec<Waiter>,
    /// Whether a thread sleeps in `ppoll`, or is about to tell what it heard there.
    is_polled: bool,
}

#[derive(Debug)]
struct Waiter {
    wd: WatchDescriptor,
    bell: Arc<Condvar>,
    news: News,
    sleeps: bool,
}

impl Watch {
    /// Begins to listen; what happens from now on is heard of.
    ///
    /// # Errors
    /// Where there are no more inotify instances or watches for this user, or no `/proc`.
    pub(crate) fn on(file: &Path) -> Result<Self> {
        let hub = Hub::of_this_process()?;
        let bell = Arc::new(Condvar::new());
        let mut state = hub.state();
        let mask = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_CLOSE_NOWRITE | AddWatchFlags::IN_DONT_FOLLOW;
        let wd = hub.inotify.add_watch(file, mask).map_err(|errno| Error::system("inotify_add_watch", errno))?;
        state.waiters.push(Waiter { wd, bell: Arc::clone(&bell), news: News::None, sleeps: false });
        drop(state);
        Ok(Self { hub, wd, bell })
    }

    /// Sleeps until something happened since the last call, or for this long.
    pub(crate) fn sleep(&self, at_most: Duration) -> News {
        let until = Instant::now() + at_most;
        let mut state = self.hub.state();
        loop {
            let news = std::mem::replace(&mut state.of(&self.bell).news, News::None);
            let left = until.saturating_duration_since(Instant::now());
            if news != News::None || left.is_zero() {
                state.hand_over();
                return news;
            }
            if state.is_polled {
                state.of(&self.bell).sleeps = true;
                state = self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                state.of(&self.bell).sleeps = false;
            } else {
                state.is_polled = true;
                drop(state);
                let events = self.hub.poll(left);
                state = self.hub.state();
                state.is_polled = false;
                events.iter().for_each(|event| state.tell(event));
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.waiters.retain(|waiter| !Arc::ptr_eq(&waiter.bell, &self.bell));
        if state.waiters.iter().all(|waiter| waiter.wd != self.wd) && self.hub.is_open() {
            // It fails where the file system was unmounted, which ended the watch.
            let _ = self.hub.inotify.rm_watch(self.wd);
        }
    }
}

impl Hub {
    fn of_this_process() -> Result<Arc<Self>> {
        let present = HUB.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut present = present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = present.as_ref().filter(|hub| hub.is_open()) {
            return Ok(Arc::clone(hub));
        }
        descriptors::free()?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let inotify = inotify.map_err(|errno| Error::refused("inotify_init1", errno))?;
        descriptor::tag(&inotify)?;
        let hub = Arc::new(Self { inotify: ManuallyDrop::new(inotify), state: Mutex::default() });
        Ok(Arc::clone(present.insert(hub)))
    }

    /// Whether the number is still the instance's.
    fn is_open(&self) -> bool {
        descriptor::is_tagged(self.inotify.as_fd())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be read, after a sleep of at most this long if there is nothing. Signals end it early.
    fn poll(&self, at_most: Duration) -> Vec<InotifyEvent> {
        if !self.is_open() {
            std::thread::sleep(at_most);
            return Vec::new();
        }
        let mut fds = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, Some(at_most.into()), None) {
            Ok(1..) if self.is_open() => self.inotify.read_events().unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

impl State {
    fn of(&mut self, bell: &Arc<Condvar>) -> &mut Waiter {
        let mut waiters = self.waiters.iter_mut();
        waiters.find(|waiter| Arc::ptr_eq(&waiter.bell, bell)).expect("a watch is in the list until it is dropped")
    }

    fn tell(&mut self, event: &InotifyEvent) {
        let news = if event.mask.contains(AddWatchFlags::IN_CLOSE_WRITE) {
            News::Closed
        } else if event.mask.intersects(AddWatchFlags::IN_CLOSE_NOWRITE | AddWatchFlags::IN_Q_OVERFLOW) {
            News::Called
        } else {
            return;
        };
        let to_all = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.wd == event.wd || to_all) {
            waiter.news = waiter.news.max(news);
            if waiter.sleeps {
                waiter.bell.notify_one();
            }
        }
    }

    /// Has another thread sleep in `ppoll`, if none does.
    fn hand_over(&self) {
        if !self.is_polled
            && let Some(waiter) = self.waiters.iter().find(|waiter| waiter.sleeps)
        {
            waiter.bell.notify_one();
        }
    }
}

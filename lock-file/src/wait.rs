//! Waiting with a deadline: retry when the lock file is closed, and ten times a second.

use std::path::Path;
use std::thread;
use std::time::Duration;

use lock_core::{Deadline, Result};

use crate::release_watcher::{Event, Watch};

/// The longest sleep between two attempts.
///
/// Some releases cause no event: a foreign program may unlock a file without closing it, and an owner may have no descriptor left
/// to open the file again.
const TICK: Duration = Duration::from_millis(100);

/// The pauses between attempts after [`Event::Closed`].
///
/// The kernel reports the event just before it releases the lock.
const PAUSES: [Duration; 4] =
    [Duration::from_micros(10), Duration::from_micros(100), Duration::from_millis(1), Duration::from_millis(5)];

/// The first pause of a thread that gives way to another one.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_micros(50);

/// The longest of these pauses. Each is twice as long as the previous one.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// The result of an attempt to acquire a lock.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    Acquired(T),
    Busy,
    /// The lock is free, and reserved for another thread.
    Reserved,
}

/// Calls `attempt` until it succeeds. Returns `None` if the deadline passes first.
///
/// A waiter sleeps until a descriptor of `file` is closed, for at most [`TICK`]. `before_sleep` is called before each sleep.
pub(crate) fn until<T>(
    file: &Path,
    deadline: Deadline,
    mut before_sleep: impl FnMut(),
    mut attempt: impl FnMut() -> Result<Attempt<T>>,
) -> Result<Option<T>> {
    let acquired = |attempted| if let Attempt::Acquired(acquired) = attempted { Some(acquired) } else { None };
    if deadline.has_passed() {
        return attempt().map(acquired);
    }
    // Watching begins before the first attempt, so no event is missed. Without inotify, the waiter polls.
    let watch = Watch::new(file).ok();
    let (mut pauses, mut pause) = ([].iter(), FIRST_PAUSE);
    loop {
        // Read before the attempt, so that the last attempt is made after the deadline.
        let left = deadline.remaining().unwrap_or(TICK);
        let is_reserved = match attempt()? {
            Attempt::Acquired(acquired) => return Ok(Some(acquired)),
            Attempt::Busy => false,
            Attempt::Reserved => true,
        };
        if left.is_zero() {
            return Ok(None);
        }
        before_sleep();
        if is_reserved {
            thread::sleep(left.min(pause));
            pause = LONGEST_PAUSE.min(pause * 2);
            continue;
        }
        pause = FIRST_PAUSE;
        if let Some(pause) = pauses.next() {
            thread::sleep(left.min(*pause));
            continue;
        }
        let sleep = left.min(TICK);
        match &watch {
            Some(watch) if watch.wait(sleep) == Some(Event::Closed) => pauses = PAUSES.iter(),
            Some(_) => {}
            None => thread::sleep(sleep),
        }
    }
}

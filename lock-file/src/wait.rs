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

/// Calls `attempt` until it succeeds. Returns `None` if the deadline passes first.
///
/// A waiter sleeps until a descriptor of `file` is closed, for at most [`TICK`]. `before_sleep` is called before each sleep.
pub(crate) fn until<T>(
    file: &Path,
    deadline: Deadline,
    mut before_sleep: impl FnMut(),
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    if deadline.has_passed() {
        return attempt();
    }
    // Watching begins before the first attempt, so no event is missed. Without inotify, the waiter polls.
    let watch = Watch::new(file).ok();
    let mut pauses = [].iter();
    loop {
        // Read before the attempt, so that the last attempt is made after the deadline.
        let left = deadline.remaining().unwrap_or(TICK);
        if let Some(acquired) = attempt()? {
            return Ok(Some(acquired));
        }
        if left.is_zero() {
            return Ok(None);
        }
        before_sleep();
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

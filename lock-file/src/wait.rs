use std::path::Path;
use std::thread;
use std::time::Duration;

use lock_core::{Deadline, Result};

use crate::hub::{News, Watch};

/// Whoever waits looks this often without being told, since not everything tells: a foreign program that unlocks and does not close,
/// another machine, an owner that had no descriptor left to call with.
const TICK: Duration = Duration::from_millis(100);

/// The pauses after the news that a file was closed, which comes right before the kernel drops the lock.
const PAUSES: [Duration; 4] =
    [Duration::from_micros(10), Duration::from_micros(100), Duration::from_millis(1), Duration::from_millis(5)];

/// Makes attempts until one succeeds; `None` when the deadline passed first. `file` is the one whose being closed is a reason to
/// try again.
pub(crate) fn until<T>(file: &Path, deadline: Deadline, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    if deadline.has_passed() {
        return attempt();
    }
    // It listens before it tries, so that nothing happens in between unheard. Where listening is impossible it tries by the clock.
    let watch = Watch::on(file).ok();
    let mut pauses = [].iter();
    loop {
        // What is left is asked before the attempt: the last attempt comes after the deadline.
        let left = deadline.remaining().unwrap_or(TICK);
        if let Some(got) = attempt()? {
            return Ok(Some(got));
        }
        if left.is_zero() {
            return Ok(None);
        }
        if let Some(pause) = pauses.next() {
            thread::sleep(left.min(*pause));
            continue;
        }
        let sleep = left.min(TICK);
        match &watch {
            Some(watch) if watch.sleep(sleep) == News::Closed => pauses = PAUSES.iter(),
            Some(_) => {}
            None => thread::sleep(sleep),
        }
    }
}

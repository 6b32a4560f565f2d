//! Changes of the allocated ids, under the segment mutex.

use std::time::Duration;

use lock_core::{Deadline, Error, Result};

use crate::held;
use crate::inspect;
use crate::layout::MUTEX_AT;
use crate::mutex::{self, Leave, Outcome};
use crate::segment::Segment;
use crate::sys::{Mapping, ThisThread};

/// The longest wait for the segment mutex.
const MUTEX_WAIT: Duration = Duration::from_secs(30);

/// Calls `change` with the segment mutex locked. The path must lead to this segment.
///
/// # Errors
/// [`ErrorKind::TimedOut`](lock_core::ErrorKind::TimedOut) when another thread has the mutex for 30 seconds; the errors of
/// [`Segment::check`] and `change`.
pub(crate) fn exclusively<T>(segment: &Segment, change: impl FnOnce(&Mapping) -> Result<T>) -> Result<T> {
    segment.check()?;
    let (me, key) = (ThisThread::get()?, segment.key(None));
    held::check_room()?;
    let mutex = &segment.mapping.header().mutex;
    match mutex::acquire(mutex, &me, Deadline::after(MUTEX_WAIT), || held::contains(key))? {
        // A bitmap changes by one store, so that no owner that dies leaves a damaged one.
        Outcome::Acquired | Outcome::Recovered(_) => {}
        Outcome::TimedOut => {
            let held_by = inspect::held_by(segment, MUTEX_AT as u64, mutex);
            return Err(Error::timed_out(MUTEX_WAIT, held_by).advise("it is the mutex for allocating ids"));
        }
    }
    segment.mapping.add_held();
    held::add(key, None);
    let changed = change(&segment.mapping);
    held::remove(key);
    let is_released = mutex::release(mutex, &me, Leave::Free);
    segment.mapping.remove_held();
    if is_released { changed } else { Err(Error::lost()) }
}

use std::fmt;
use std::time::Duration;

use lock_core::Deadline;

/// The wait of an acquisition: its present deadline, and whether it goes on after it.
///
/// A caller may want to look at something from time to time, such as its cancellation. The deadline is then the end of a slice of the
/// wait, and [`Wait::goes_on`] sets the next one. The waiter keeps its place in the queue meanwhile.
pub struct Wait<'a> {
    next: &'a mut dyn FnMut() -> Option<Deadline>,
    deadline: Deadline,
}

impl<'a> Wait<'a> {
    /// Starts a wait. Returns `None` if it is over before it began.
    pub(crate) fn start(next: &'a mut dyn FnMut() -> Option<Deadline>) -> Option<Self> {
        let deadline = next()?;
        Some(Self { next, deadline })
    }

    /// Returns true if the caller does not wait at all: the lock is tried once.
    pub fn is_try(&self) -> bool {
        self.deadline == Deadline::Now
    }

    /// Returns the time until the present deadline, and at most `longest`.
    pub fn remaining(&self, longest: Duration) -> Duration {
        self.deadline.remaining().map_or(longest, |remaining| remaining.min(longest))
    }

    /// Returns true if the deadline has not passed, or if it has and the caller sets another one.
    pub fn goes_on(&mut self) -> bool {
        while self.deadline.has_passed() {
            match (self.next)() {
                Some(deadline) => self.deadline = deadline,
                None => return false,
            }
        }
        true
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

//! Growing: the bound of a table, which can be raised.
//!
//! The header has the bound at the creation, which never changes. Another word of it has the raised bound, or 0. One atomic operation
//! raises the bound, so that a process that is killed leaves the earlier bound or the new one. Each process reads the word whenever it
//! needs the bound. The position of an id in the file depends on its number alone, so nothing moves.

use std::sync::atomic::Ordering::{Acquire, SeqCst};

use crate::header;
use crate::options::Bound;
use crate::raised_bound::{INVALID, decode, encode};
use crate::table::Table;
use lock_core::Result;

impl Table {
    /// Returns the present bound.
    ///
    /// A table whose word was damaged while it was open has the bound of its creation.
    pub(crate) fn bound(&self) -> Bound {
        let created = self.header.bound;
        decode(self.state().raised_bound.load(Acquire), created).unwrap_or(created)
    }

    /// Returns the number of ids.
    pub(crate) fn limit(&self) -> u64 {
        self.bound().limit()
    }

    /// Returns the maximum number of locks, or `None` if there is no bound.
    pub fn capacity(&self) -> Option<u64> {
        self.bound().capacity()
    }

    /// Returns the number of ids that the table had when it was created.
    pub fn ids_at_creation(&self) -> u64 {
        self.header.bound.limit()
    }

    /// Raises the bound. `None` removes it.
    ///
    /// Segments are added when their ids are used, so the call takes no space.
    ///
    /// # Errors
    /// [`ErrorKind::OtherCapacity`](lock_core::ErrorKind::OtherCapacity) if the table has a greater bound, or if the number is too large;
    /// those of [`Table::check`].
    pub fn grow(&self, capacity: Option<u64>) -> Result<()> {
        self.check()?;
        let word = self.state().raised_bound;
        loop {
            let seen = word.load(Acquire);
            let present = decode(seen, self.header.bound).ok_or_else(|| header::corrupt(INVALID))?;
            let Some(raised) = present.raised_to(capacity)? else { return Ok(()) };
            if word.compare_exchange(seen, encode(raised), SeqCst, Acquire).is_ok() {
                return Ok(());
            }
        }
    }
}

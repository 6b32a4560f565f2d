//! Growing: the bound of a table, which can be raised.
//!
//! The header has the bound at the creation, which never changes. Another word of it has the raised bound, or 0. One atomic operation
//! raises the bound, so that a process that is killed leaves the earlier bound or the new one. Each process reads the word whenever it
//! needs the bound. The position of an id in the file depends on its number alone, so nothing moves.

use std::sync::atomic::Ordering::{Acquire, SeqCst};

use crate::header;
use crate::options::Bound;
use crate::table::Table;
use lock_core::Result;

/// Encodes a raised bound in a word: the greatest id, and its complement as a check.
fn encode(bound: Bound) -> u64 {
    let greatest = bound.limit() - 1;
    greatest | !greatest << u32::BITS
}

/// Decodes the word of a raised bound. 0 is a table that has not grown.
///
/// Returns `None` if the word is not valid. A raised bound is greater than the one at the creation.
pub(crate) fn decode(word: u64, created: Bound) -> Option<Bound> {
    let (greatest, check) = (word as u32, (word >> u32::BITS) as u32);
    let bound = Bound::of_limit(u64::from(greatest) + 1);
    match word {
        0 => Some(created),
        _ if greatest == !check && bound.limit() > created.limit() => Some(bound),
        _ => None,
    }
}

/// The damage of a table whose word cannot be decoded.
pub(crate) const INVALID: &str = "the raised capacity is not valid";

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

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::LockId;

    fn bound(limit: u64) -> Bound {
        Bound::of_limit(limit)
    }

    /// Bounds around each power of two.
    fn limits() -> impl Iterator<Item = u64> {
        (0..=32)
            .flat_map(|power| [-1, 0, 1].map(|more| (1_u64 << power).saturating_add_signed(more)))
            .filter(|limit| (1..=LockId::LIMIT).contains(limit))
    }

    #[test]
    fn zero_is_the_bound_of_the_creation() {
        limits().for_each(|created| assert_eq!(decode(0, bound(created)), Some(bound(created))));
    }

    #[test]
    fn a_raised_bound_is_decoded_as_it_was_encoded() {
        for raised in limits() {
            for created in limits() {
                let expected = (created < raised).then(|| bound(raised));
                assert_eq!(decode(encode(bound(raised)), bound(created)), expected, "{created} raised to {raised}");
            }
        }
    }

    #[test]
    fn a_word_with_a_changed_bit_is_refused() {
        for raised in limits().filter(|raised| *raised > 1) {
            for bit in 0..u64::BITS {
                assert_eq!(decode(encode(bound(raised)) ^ 1 << bit, bound(1)), None, "{raised}, bit {bit}");
            }
        }
    }
}

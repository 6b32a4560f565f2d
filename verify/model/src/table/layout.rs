//! The stand-in for the layout of a table: one segment with short records.

use real_core::LockId;

/// Words of the allocator's command in a record.
pub(crate) const COMMAND_WORDS: usize = 1;
/// Words of a record: five, the command, and a label of two words.
pub(crate) const RECORD_WORDS: usize = 5 + COMMAND_WORDS + 2;

pub(crate) fn locate(id: LockId) -> (usize, usize) {
    (0, id.get() as usize)
}

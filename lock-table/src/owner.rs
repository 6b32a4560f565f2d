use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use crate::env::AtomicU64;
use lock_core::OwnerKind;

const TID_BITS: u32 = 22;
const ENTRY_BITS: u32 = 14;
const NOTE_BITS: u32 = 4;
const GENERATION_BITS: u32 = 64 - TID_BITS - ENTRY_BITS - NOTE_BITS;
const NOTE_SHIFT: u32 = TID_BITS + ENTRY_BITS;
const GENERATION_SHIFT: u32 = NOTE_SHIFT + NOTE_BITS;
const NOTE: u64 = ((1 << NOTE_BITS) - 1) << NOTE_SHIFT;

/// Bits of the generation in an [identity number](Owner::identity_number).
const IDENTITY_GENERATION_BITS: u32 = 15;

/// A thread of a process that has a store open, encoded in a word.
///
/// The word contains the entry of the process, the generation of the entry, and the thread id. Of all threads that use the store at the
/// same time, in all PID namespaces, no two have the same word.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u64);

impl Owner {
    /// No owner.
    pub const NONE: Self = Self(0);

    /// No owner, and the previous owner left the protected data inconsistent.
    pub(crate) const INCONSISTENT: Self = Self(1 << NOTE_SHIFT);

    /// The note of an owner whose lock was broken. The lock is free.
    const BROKEN: u64 = 2;

    /// The lowest number that is not a thread id. Thread ids of the kernel are below 2²² (proc_sys_kernel(5), `pid_max`).
    pub const FIRST_IDENTITY: u32 = 1 << TID_BITS;

    /// Returns the word of a process without a thread.
    pub(crate) const fn from_process(entry: usize, generation: u64) -> Self {
        Self((generation << GENERATION_SHIFT) | ((entry as u64) << TID_BITS))
    }

    /// Returns the generation that follows this one, which is never 0.
    pub(crate) const fn next_generation(generation: u64) -> u64 {
        let next = generation.wrapping_add(1) & ((1 << GENERATION_BITS) - 1);
        if next == 0 { 1 } else { next }
    }

    /// Sets the thread of the word of a process. `tid` is below [`Owner::FIRST_IDENTITY`].
    pub(crate) const fn with_thread(self, tid: u32) -> Self {
        debug_assert!(tid < Self::FIRST_IDENTITY);
        Self(self.0 | tid as u64)
    }

    /// Decodes a word of a store.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Returns the word for a store.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Returns true if there is no owner.
    pub const fn is_none(self) -> bool {
        self.0 & !NOTE == 0
    }

    /// Returns true if there is no owner, and the previous owner left the protected data inconsistent.
    pub(crate) const fn is_inconsistent(self) -> bool {
        self.0 == Self::INCONSISTENT.0
    }

    /// Returns true if the lock of this owner was [broken](crate::LockLine::break_owner), so that it is free.
    pub const fn is_broken(self) -> bool {
        self.note() == Self::BROKEN
    }

    /// Returns the word of an owner whose lock was broken.
    pub(crate) const fn broken(self) -> Self {
        self.with_note(Self::BROKEN)
    }

    /// Sets the note, a number from 0 to 15. The note of a recorded death is [`Cause::number`](lock_core::Cause::number).
    pub(crate) const fn with_note(self, note: u64) -> Self {
        Self((self.0 & !NOTE) | ((note << NOTE_SHIFT) & NOTE))
    }

    /// Returns the note.
    pub(crate) const fn note(self) -> u64 {
        (self.0 & NOTE) >> NOTE_SHIFT
    }

    /// Returns the word of the process, without the thread.
    ///
    /// The lowest 22 bits are 0. A backend that stores the word can use them. [`Table::is_dead`](super::Table::is_dead) and
    /// [`Table::describe`](super::Table::describe) accept such a word.
    pub const fn process(self) -> Self {
        Self(self.0 >> TID_BITS << TID_BITS)
    }

    /// Returns the word that a lock records if this thread, or its process, owns it: the word of the thread, or that of the process.
    pub const fn of_kind(self, kind: OwnerKind) -> Self {
        match kind {
            OwnerKind::Process => self.process(),
            _ => self,
        }
    }

    /// Returns a number for the process that fits into a futex word and is not a thread id.
    ///
    /// For threads whose id another thread may have in the PID namespace of the store. The kernel's robust list compares thread ids.
    pub const fn identity_number(self) -> u32 {
        let generation = (self.generation() & ((1 << IDENTITY_GENERATION_BITS) - 1)) as u32;
        Self::FIRST_IDENTITY + ((self.entry() as u32) << IDENTITY_GENERATION_BITS | generation)
    }

    /// Returns the process of an identity number, given the current generation of each entry.
    ///
    /// Returns `None` if another process has reused the entry.
    pub(crate) fn from_identity_number(number: u32, generation: impl Fn(usize) -> Option<u64>) -> Option<Self> {
        let entry = (number.wrapping_sub(Self::FIRST_IDENTITY) >> IDENTITY_GENERATION_BITS) as usize;
        let latest = Self::from_process(entry, generation(entry)?);
        (latest.identity_number() == number).then_some(latest)
    }

    /// Claims a word for this thread, if it is free or its claimant is dead.
    ///
    /// To release the claim, the claimant stores 0.
    pub(crate) fn claim(self, word: &AtomicU64, is_dead: impl Fn(Self) -> bool) -> bool {
        let present = word.load(Acquire);
        (present == 0 || is_dead(Self(present))) && word.compare_exchange(present, self.0, SeqCst, Relaxed).is_ok()
    }

    pub(crate) const fn entry(self) -> usize {
        (self.0 >> TID_BITS) as usize & ((1 << ENTRY_BITS) - 1)
    }

    pub(crate) const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// Returns the thread id in the PID namespace of the process.
    pub const fn tid(self) -> u32 {
        (self.0 & ((1 << TID_BITS) - 1)) as u32
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner(entry {}, generation {}, thread {})", self.entry(), self.generation(), self.tid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u64 = (1 << GENERATION_BITS) - 1;

    #[test]
    fn encoded_fields_are_decoded() {
        for (entry, generation, tid) in [(0, 1, 1), (16_383, LAST, (1 << 22) - 1), (77, 12_345, 4_194_303)] {
            let owner = Owner::from_process(entry, generation).with_thread(tid);
            assert_eq!((owner.entry(), owner.generation(), owner.tid()), (entry, generation, tid));
            assert!(!owner.is_none() && owner.note() == 0);
            assert_eq!(Owner::from_word(owner.word()), owner);
            assert_eq!(owner.process(), Owner::from_process(entry, generation));
            assert_eq!(owner.with_note(15).note(), 15);
            assert_eq!(owner.with_note(15).with_note(0), owner);
            assert!(owner.broken().is_broken() && !owner.is_broken() && owner.broken().tid() == tid);
        }
        assert!(Owner::INCONSISTENT.is_none() && Owner::NONE.is_none());
        assert!(!Owner::INCONSISTENT.is_broken() && !Owner::NONE.is_broken());
    }

    #[test]
    fn generations_wrap_around_to_one() {
        assert_eq!([0, 1, LAST].map(Owner::next_generation), [1, 2, 1]);
    }

    #[test]
    fn identity_numbers_are_not_thread_ids_and_identify_the_process() {
        for (entry, generation) in [(0, 1), (16_383, LAST), (77, 12_345)] {
            let owner = Owner::from_process(entry, generation).with_thread(9);
            let number = owner.identity_number();
            assert!((1 << 22..=0x3fff_ffff).contains(&number), "{number:#x}");
            assert_eq!(Owner::from_identity_number(number, |_| Some(generation)), Some(owner.process()));
            assert_eq!(Owner::from_identity_number(number, |_| Some(Owner::next_generation(generation))), None);
        }
    }
}

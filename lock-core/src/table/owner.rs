use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

const TID_BITS: u32 = 22;
const SEAT_BITS: u32 = 16;
const TURN_BITS: u32 = 64 - TID_BITS - SEAT_BITS;

/// A thread of a process that has a store open, in a word: its process's seat in the store, which turn of that seat it is, and its
/// thread id. No two threads that ever use a store have the same word at the same time, whatever their pid namespaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u64);

impl Owner {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// How many turns a seat counts before it begins again.
    pub(super) const TURNS: u64 = 1 << TURN_BITS;

    /// The word of a seat without a thread.
    pub(super) const fn of_seat(seat: usize, turn: u64) -> Self {
        Self((turn << (TID_BITS + SEAT_BITS)) | ((seat as u64) << TID_BITS))
    }

    /// The same with a thread. Linux has no thread ids above 2²².
    pub(super) const fn with_thread(self, tid: u32) -> Self {
        Self(self.0 | (tid as u64 & ((1 << TID_BITS) - 1)))
    }

    /// As it stands in a store.
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// As it stands in a store.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Whether it is nobody.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The word of its process, without a thread: its lowest 22 bits are 0, and free for a backend that keeps it in a word of its own.
    /// [`Table::is_dead`](super::Table::is_dead) and [`Table::describe`](super::Table::describe) take it, too.
    pub const fn process(self) -> Self {
        Self(self.0 >> TID_BITS << TID_BITS)
    }

    /// Claims a word for this thread: from nobody, or from somebody who is dead. Whoever has it stores 0 to give it back.
    pub(super) fn claim(self, word: &AtomicU64, is_dead: impl Fn(Self) -> bool) -> bool {
        let present = word.load(Acquire);
        (present == 0 || is_dead(Self(present))) && word.compare_exchange(present, self.0, SeqCst, Relaxed).is_ok()
    }

    pub(super) const fn seat(self) -> usize {
        (self.0 >> TID_BITS) as usize & ((1 << SEAT_BITS) - 1)
    }

    pub(super) const fn turn(self) -> u64 {
        self.0 >> (TID_BITS + SEAT_BITS)
    }

    /// The thread id, in the pid namespace of the process.
    pub const fn tid(self) -> u32 {
        (self.0 & ((1 << TID_BITS) - 1)) as u32
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Owner(seat {}, turn {}, thread {})", self.seat(), self.turn(), self.tid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        for (seat, turn, tid) in [(0, 1, 1), (16_383, Owner::TURNS - 1, (1 << 22) - 1), (77, 12_345, 4_194_303)] {
            let owner = Owner::of_seat(seat, turn).with_thread(tid);
            assert_eq!((owner.seat(), owner.turn(), owner.tid()), (seat, turn, tid));
            assert!(!owner.is_none());
            assert_eq!(Owner::from_word(owner.word()), owner);
            assert_eq!(owner.process(), Owner::of_seat(seat, turn));
        }
    }
}

use lock_table::Owner;

const HELD: u64 = 1;
const ARMED: u64 = 2;
const TERM: u64 = 4;
/// The bits that [`Owner::process`] does not use.
const FLAGS: u64 = (1 << 22) - 1;

/// The ownership of a lock, in one word of its line. It decides which process has the lock.
///
/// The word contains:
///
/// - the process that has the lock, or had it last;
/// - *held*: whether that process has the lock;
/// - *armed*: whether the semaphore agrees with this word. The semaphore of a held lock has no unit and the owner's undo; that of
///   a free lock has one unit;
/// - the *term*: the number of times, modulo 2²⁰, that a process became the owner without the unit of the semaphore.
///
/// Zero is a new lock, which is free and not armed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ownership(u64);

impl Ownership {
    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    pub(crate) const fn process(self) -> Owner {
        Owner::from_word(self.0).process()
    }

    pub(crate) const fn is_held(self) -> bool {
        self.0 & HELD != 0
    }

    /// Checks whether the process of `me` has the lock.
    #[inline]
    pub(crate) fn is_held_by(self, me: Owner) -> bool {
        self.is_held() && self.process() == me.process()
    }

    pub(crate) const fn is_armed(self) -> bool {
        self.0 & ARMED != 0
    }

    /// Checks whether two ownerships have the same term. Terms repeat after 2²⁰ takeovers.
    pub(crate) const fn is_of_same_term(self, other: Self) -> bool {
        (self.0 ^ other.0) & FLAGS & !(HELD | ARMED) == 0
    }

    /// Returns the ownership after the process of `me` acquires the lock with the unit.
    pub(crate) const fn acquired_by(self, me: Owner) -> Self {
        Self(me.process().word() | (self.0 & FLAGS) | HELD | ARMED)
    }

    /// Returns the ownership after the process of `me` acquires the lock without the unit.
    ///
    /// It has a new term and is not armed.
    pub(crate) const fn taken_over_by(self, me: Owner) -> Self {
        let term = (self.0 + TERM) & FLAGS & !(HELD | ARMED);
        Self(me.process().word() | term | HELD)
    }

    /// Returns the ownership after the owner arms the semaphore.
    pub(crate) const fn armed(self) -> Self {
        Self(self.0 | ARMED)
    }

    /// Returns the ownership after the unit could not be given back.
    pub(crate) const fn disarmed(self) -> Self {
        Self(self.0 & !ARMED)
    }

    /// Returns the ownership after the owner releases the lock.
    pub(crate) const fn released(self) -> Self {
        Self(self.0 & !HELD)
    }
}

impl std::fmt::Debug for Ownership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ownership")
            .field("process", &self.process())
            .field("held", &self.is_held())
            .field("armed", &self.is_armed())
            .field("term", &((self.0 & FLAGS) / TERM))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Owner = Owner::from_word((7 << 38) | (3 << 22) | 1234);
    const BOB: Owner = Owner::from_word((8 << 38) | (4 << 22) | 1234);

    #[test]
    fn a_new_lock_is_free_and_not_armed() {
        let new = Ownership::from_word(0);
        assert!(!new.is_held() && !new.is_armed() && new.process().is_none());
    }

    #[test]
    fn only_a_takeover_begins_a_term() {
        let first = Ownership::from_word(0).taken_over_by(ALICE);
        assert!(first.is_held() && !first.is_armed() && first.process() == ALICE.process());
        let released = first.armed().released();
        assert!(!released.is_held() && released.is_armed() && released.is_of_same_term(first));
        let second = released.acquired_by(BOB);
        assert!(second.is_held() && second.is_armed() && second.is_of_same_term(first) && second.process() == BOB.process());
        let third = second.taken_over_by(ALICE);
        assert!(third.is_held() && !third.is_armed() && !third.is_of_same_term(second));
        assert!(third.is_held_by(ALICE) && !third.is_held_by(BOB) && !third.released().is_held_by(ALICE));
        let disarmed = released.disarmed();
        assert!(!disarmed.is_armed() && !disarmed.is_held() && disarmed.is_of_same_term(released));
    }

    #[test]
    fn an_overflow_of_the_term_leaves_the_process_unchanged() {
        let mut ownership = Ownership::from_word(0);
        for _ in 0..1 << 20 {
            ownership = ownership.taken_over_by(BOB);
        }
        assert_eq!(ownership.process(), BOB.process());
        assert!(ownership.is_of_same_term(Ownership::from_word(0)));
    }
}

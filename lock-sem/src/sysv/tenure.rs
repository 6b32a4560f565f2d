use lock_table::Owner;

const HELD: u64 = 1;
const ARMED: u64 = 2;
const TERM: u64 = 4;
/// What [`Owner::process`] leaves free.
const FREE: u64 = (1 << 22) - 1;

/// The state of a lock, in one word of its line. It decides which process has the lock; the semaphore only says when to read it.
///
/// It has the process that owns the lock, or owned it last; whether that one *holds* it; whether the semaphore is *armed*, that
/// is, agrees with this word (held, with the owner's undo; or free, with one unit); and the *term*. A new term begins whenever a
/// process becomes the owner without the semaphore's unit. Zero is a fresh lock: free, and its semaphore not armed yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenure(u64);

impl Tenure {
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

    /// Whether this process has the lock.
    #[inline]
    pub(crate) fn is_held_by(self, me: Owner) -> bool {
        self.is_held() && self.process() == me.process()
    }

    pub(crate) const fn is_armed(self) -> bool {
        self.0 & ARMED != 0
    }

    /// Whether the two are of one term. (It is the same one unless 2²⁰ others went by.)
    pub(crate) const fn is_of_same_term(self, other: Self) -> bool {
        (self.0 ^ other.0) & FREE & !(HELD | ARMED) == 0
    }

    /// After this process acquired the lock with the unit.
    pub(crate) const fn entered_by(self, me: Owner) -> Self {
        Self(me.process().word() | (self.0 & FREE) | HELD | ARMED)
    }

    /// After this process acquired the lock without the unit: a new term, whose semaphore is not armed.
    pub(crate) const fn taken_over_by(self, me: Owner) -> Self {
        let term = (self.0 + TERM) & FREE & !(HELD | ARMED);
        Self(me.process().word() | term | HELD)
    }

    /// After its owner armed the semaphore.
    pub(crate) const fn armed(self) -> Self {
        Self(self.0 | ARMED)
    }

    /// After its unit could not be given back.
    pub(crate) const fn disarmed(self) -> Self {
        Self(self.0 & !ARMED)
    }

    /// After its owner let go.
    pub(crate) const fn released(self) -> Self {
        Self(self.0 & !HELD)
    }
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenure")
            .field("process", &self.process())
            .field("held", &self.is_held())
            .field("armed", &self.is_armed())
            .field("term", &((self.0 & FREE) / TERM))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Owner = Owner::from_word((7 << 38) | (3 << 22) | 1234);
    const BOB: Owner = Owner::from_word((8 << 38) | (4 << 22) | 1234);

    #[test]
    fn a_fresh_lock_is_free_and_not_armed() {
        let fresh = Tenure::from_word(0);
        assert!(!fresh.is_held() && !fresh.is_armed() && fresh.process().is_none());
    }

    #[test]
    fn only_a_takeover_begins_a_term() {
        let first = Tenure::from_word(0).taken_over_by(ALICE);
        assert!(first.is_held() && !first.is_armed() && first.process() == ALICE.process());
        let released = first.armed().released();
        assert!(!released.is_held() && released.is_armed() && released.is_of_same_term(first));
        let second = released.entered_by(BOB);
        assert!(second.is_held() && second.is_armed() && second.is_of_same_term(first) && second.process() == BOB.process());
        let third = second.taken_over_by(ALICE);
        assert!(third.is_held() && !third.is_armed() && !third.is_of_same_term(second));
        assert!(third.is_held_by(ALICE) && !third.is_held_by(BOB) && !third.released().is_held_by(ALICE));
        let disarmed = released.disarmed();
        assert!(!disarmed.is_armed() && !disarmed.is_held() && disarmed.is_of_same_term(released));
    }

    #[test]
    fn terms_begin_again_without_touching_the_process() {
        let mut tenure = Tenure::from_word(0);
        for _ in 0..1 << 20 {
            tenure = tenure.taken_over_by(BOB);
        }
        assert_eq!(tenure.process(), BOB.process());
        assert!(tenure.is_of_same_term(Tenure::from_word(0)));
    }
}

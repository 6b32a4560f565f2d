//! How a lock's owner is recorded and removed, and how a death is reported to the next owner.

use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::compiler_fence;

use super::Slot;
use crate::owner::Owner;
use lock_core::{Acquired, Cause, Condition, Death, Recovery};

impl Slot {
    /// Writes the new owner down, called by it right after it took the lock; says what to return from the acquisition.
    ///
    /// If an owner is written down, the caller has found out that it is dead.
    #[inline]
    pub fn begin(&self, me: Owner) -> Acquired {
        match self.hot.owner().word() {
            0 => Acquired::Held { token: self.hot.begin(me) },
            _ => self.begin_after(me),
        }
    }

    #[cold]
    fn begin_after(&self, me: Owner) -> Acquired {
        let death = self.take_note(self.hot.owner());
        let token = self.hot.begin(me);
        self.acquired(token, death)
    }

    /// The same for a backend whose own lock may let two threads in, such as a file that was removed while it was locked: only one of
    /// them takes the place of `before`, which each has read and found to be none, or dead. `None` for the others.
    #[inline]
    pub fn begin_instead_of(&self, before: Owner, me: Owner) -> Option<Acquired> {
        let token = self.hot.begin_instead_of(before, me)?;
        Some(match before.word() {
            0 => Acquired::Held { token },
            _ => self.acquired(token, self.take_note(before)),
        })
    }

    /// The same where the lock was taken away from the owner that is written down, which lives. That is no death, but one that was reported
    /// to that owner is reported further.
    #[cold]
    pub fn begin_after_break(&self, me: Owner) -> Acquired {
        let death = self.take_note(Owner::INCONSISTENT);
        let token = self.hot.begin(me);
        self.acquired(token, death)
    }

    /// What to return from an acquisition, given what [`Slot::take_note`] said.
    pub fn acquired(&self, token: u64, death: Option<Death>) -> Acquired {
        match death {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        }
    }

    /// What the next owner is told after this one, whose word is replaced afterwards. It is written down first, so that
    /// each further owner is told, too, until [`Slot::mark_consistent`].
    #[cold]
    pub fn take_note(&self, before: Owner) -> Option<Death> {
        if !before.is_none() {
            let cause = self.table().cause(before);
            self.death.store(before.with_note(cause.number()).word(), Relaxed);
        } else if !before.is_inconsistent() {
            return None;
        }
        let dead = Owner::from_word(self.death.load(Relaxed));
        let holder = self.table().describe(dead.with_note(0));
        (dead.word() != 0).then(|| Death::of(Some(holder)).with_cause(Cause::of_number(dead.note())))
    }

    /// Removes the owner and leaves what the lock protects in this condition; called by the owner, right before it gives the lock up. True
    /// when the next owner is told something.
    pub fn end(&self, me: Owner, condition: Condition) -> bool {
        match condition {
            Condition::Consistent => {
                self.hot.end();
                return false;
            }
            Condition::Panicked => self.death.store(me.with_note(Cause::Panicked.number()).word(), Relaxed),
            _ => {}
        }
        self.hot.end_inconsistent();
        true
    }

    /// The same unless the lock was taken away from the calling owner, and the next owner is written down. Then false, and nothing is
    /// changed.
    #[inline]
    pub fn end_unless_lost(&self, me: Owner, condition: Condition) -> bool {
        let ended = |left: Owner| {
            compiler_fence(std::sync::atomic::Ordering::SeqCst);
            self.hot.owner.compare_exchange(me.word(), left.word(), Release, Relaxed).is_ok()
        };
        match condition {
            Condition::Consistent => return ended(Owner::NONE),
            // First, because the next owner reads it.
            Condition::Panicked if self.hot.owner() == me => {
                self.death.store(me.with_note(Cause::Panicked.number()).word(), Relaxed);
            }
            Condition::Panicked => return false,
            _ => {}
        }
        ended(Owner::INCONSISTENT)
    }

    /// Forgets the death that the calling owner was told of.
    pub fn mark_consistent(&self) {
        self.death.store(0, Relaxed);
    }
}

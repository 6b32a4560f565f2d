//! Recording and removing the owner of a lock, and reporting its death to the next owner.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::compiler_fence;

use super::Slot;
use crate::owner::Owner;
use lock_core::{Acquired, Cause, Condition, Death, Recovery};

impl Slot {
    /// Records the calling thread as the owner, and returns the result of its acquisition.
    ///
    /// The caller has just acquired the lock. If an owner is recorded, the caller has proven its death.
    #[inline]
    pub fn record_owner(&self, me: Owner) -> Acquired {
        match self.line().owner().word() {
            0 => Acquired::Held { token: self.line().record_owner(me) },
            _ => self.record_owner_after_death(me),
        }
    }

    #[cold]
    fn record_owner_after_death(&self, me: Owner) -> Acquired {
        let death = self.record_death(self.line().owner());
        let token = self.line().record_owner(me);
        self.acquired(token, death)
    }

    /// Records the calling thread as the owner if `before` is still recorded. Returns `None` otherwise.
    ///
    /// For a backend whose lock can admit two threads, such as a file lock when the file is removed and created again. Both threads have
    /// read `before`, which is no owner or a dead one, and only one of them replaces it.
    #[inline]
    pub fn replace_owner(&self, before: Owner, me: Owner) -> Option<Acquired> {
        let token = self.line().replace_owner(before, me)?;
        Some(match before.word() {
            0 => Acquired::Held { token },
            _ => self.acquired(token, self.record_death(before)),
        })
    }

    /// Returns the report of a death that an earlier owner got and has not marked as consistent.
    ///
    /// For an acquisition after the lock of a live owner was broken, which is not a death.
    #[cold]
    pub fn repeated_death(&self) -> Option<Death> {
        self.record_death(Owner::INCONSISTENT)
    }

    /// Returns the result of an acquisition, given the result of [`Slot::record_death`].
    pub fn acquired(&self, token: u64, death: Option<Death>) -> Acquired {
        match death {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        }
    }

    /// Records the death of the owner `before`, and returns the report for the next owner.
    ///
    /// The caller replaces the owner word afterwards. The death is recorded first, so that it is not lost when the caller is killed.
    /// Each next owner gets the report until [`Slot::mark_consistent`] is called.
    #[cold]
    pub fn record_death(&self, before: Owner) -> Option<Death> {
        if !before.is_none() {
            let cause = self.table().cause(before);
            self.death().store(before.with_note(cause.number()).word(), Relaxed);
        } else if !before.is_inconsistent() {
            return None;
        }
        let dead = Owner::from_word(self.death().load(Relaxed));
        let holder = self.table().describe(dead.with_note(0));
        (dead.word() != 0).then(|| Death::of(Some(holder)).with_cause(Cause::from_number(dead.note())))
    }

    /// Removes the recorded owner and records the condition of the protected data.
    ///
    /// The owner calls this immediately before it releases the lock. Returns true if the next owner gets a report.
    pub fn clear_owner(&self, me: Owner, condition: Condition) -> bool {
        match condition {
            Condition::Consistent => {
                self.line().clear_owner();
                return false;
            }
            Condition::Panicked => self.death().store(me.with_note(Cause::Panicked.number()).word(), Relaxed),
            _ => {}
        }
        self.line().clear_owner_inconsistent();
        true
    }

    /// Removes the recorded owner as [`Slot::clear_owner`] does, if the owner is still the caller.
    ///
    /// Returns false and changes nothing when another owner is recorded, because the lock was broken. A sequentially consistent load
    /// after the call is ordered after the removal.
    #[inline]
    pub fn clear_owner_unless_lost(&self, me: Owner, condition: Condition) -> bool {
        let ended = |left: Owner| {
            compiler_fence(SeqCst);
            self.line().owner.compare_exchange(me.word(), left.word(), SeqCst, Relaxed).is_ok()
        };
        match condition {
            Condition::Consistent => return ended(Owner::NONE),
            // The next owner reads the death, so it is written before the owner is removed.
            Condition::Panicked if self.line().owner() == me => {
                self.death().store(me.with_note(Cause::Panicked.number()).word(), Relaxed);
            }
            Condition::Panicked => return false,
            _ => {}
        }
        ended(Owner::INCONSISTENT)
    }

    /// Discards the recorded death. Called by the owner that got the report.
    pub fn mark_consistent(&self) {
        self.death().store(0, Relaxed);
    }
}

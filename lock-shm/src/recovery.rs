//! Recovery of locks whose owner died.

use std::sync::atomic::Ordering::{Acquire, Release};

use lock_core::Acquired;
use lock_table::{Owner, Slot};

use crate::robust::{self, CurrentOwner, DIED};
use crate::wait::WAITERS;

/// The result of an attempt to acquire a lock that has no owner.
pub(crate) enum Vacant {
    Acquired(Acquired),
    /// The lock word has changed.
    Changed,
    /// Another thread is recovering the lock.
    Claimed,
}

/// Acquires a lock whose word has no owner.
///
/// A word without [`DIED`] was left by a consistent release. There is nothing to report, and only the word is read. A word with
/// [`DIED`] is acquired only under a [claim](recover).
pub(crate) fn acquire_vacant(slot: &Slot, me: &CurrentOwner<'_>, present: u32, waiters: u32) -> Vacant {
    if present & DIED != 0 {
        return recover(slot, me, present, None);
    }
    match robust::acquire(me, slot.line(), present, (present & WAITERS) | waiters) {
        Some(token) => Vacant::Acquired(Acquired::Held { token }),
        None => Vacant::Changed,
    }
}

/// Takes over a lock whose word has the number of an owner that is proven dead.
///
/// This covers deaths that the kernel's robust list does not: more locks than the kernel walks, `exec` from a secondary thread, and
/// owners outside the store's home PID namespace, and processes that own a lock themselves.
pub(crate) fn take_over(slot: &Slot, me: &CurrentOwner<'_>, present: u32) -> Option<Acquired> {
    let (owner, table) = (slot.line().owner(), slot.table());
    let number = robust::owner(present);
    let gone = if !owner.is_none() && is_of(owner, number) {
        table.is_gone(owner)
    } else {
        // A thread with this number was acquiring or releasing the lock: the recorded owner is none, or the dead owner that the
        // thread recovers the lock from. If the number is a thread id, the kernel handles its death.
        number >= Owner::FIRST_IDENTITY && table.is_identity_gone(number)
    };
    match if gone { recover(slot, me, present, Some(owner)) } else { Vacant::Changed } {
        Vacant::Acquired(acquired) => Some(acquired),
        _ => None,
    }
}

/// Acquires a lock after a death or an inconsistent release, or from an owner that is proven dead.
///
/// The thread first claims the lock, which excludes other recoveries. Without the claim, the lock could be acquired and left by
/// another death after this thread read the word. The thread also could not distinguish the word of a dead owner from that of a
/// new owner with the same number that is not recorded yet.
///
/// `dead` is the owner that must still be recorded.
fn recover(slot: &Slot, me: &CurrentOwner<'_>, present: u32, dead: Option<Owner>) -> Vacant {
    let (line, claim) = (slot.line(), &slot.line().spare[0]);
    if !slot.table().claim(claim, me.caller) {
        return Vacant::Claimed;
    }
    // Read the word before the owner: while the word is `present` and the claim is held, the owner does not change. An owner that
    // is read first may have released the lock in the meantime.
    let owner = (line.word.load(Acquire) == present).then(|| line.owner());
    let owner = owner.filter(|owner| dead.is_none_or(|dead| dead == *owner));
    let taken = owner.map(|owner| (slot.record_death(owner), robust::acquire(me, line, present, WAITERS)));
    claim.store(0, Release);
    match taken {
        Some((note, Some(token))) => Vacant::Acquired(slot.acquired(token, note)),
        _ => Vacant::Changed,
    }
}

/// Returns whether an owner uses this number in lock words.
pub(crate) fn is_of(owner: Owner, number: u32) -> bool {
    // The word of a process has the thread id 0, which is the number of a word without an owner.
    number == owner.identity_number() || (number != 0 && number == owner.tid())
}

//! Semaphores.

use super::{Planted, planted};

pub(super) const PLANTED: &[&[Planted]] = &[SET, LOCK, POSIX_LOCK];

const SET: &[Planted] = planted! { "lock-sem/src/sysv/set.rs":
    "undo-missing" ["sem"] "a dead owner keeps the lock";
"        let done = sys::operate(self.id, &mut [step(lock, -1, UNDO | NOW)]);"
        => "        let done = sys::operate(self.id, &mut [step(lock, -1, NOW)]);";
};

const LOCK: &[Planted] = planted! { "lock-sem/src/sysv/lock.rs":
    "taken-over-without-proof" ["sem"] "a lock is taken from an owner that lives";
"        if !free && !self.slot.table().is_dead(now.process()) {"
        => "        if !free && false {";
    "no-takeover" ["sem"] "after an exec, the lock stays locked";
"        if !free && !self.slot.table().is_dead(now.process()) {"
        => "        if !free {";
    "unit-of-an-earlier-term-believed" ["sem"] "a unit that was cleared lets somebody in";
"            if !now.is_of_same_term(before) && !self.set.is_taken_by_us(self.semaphore)? {"
        => "            if false && !self.set.is_taken_by_us(self.semaphore)? {";
    "door-left-open" ["sem"] "two threads of a process are inside";
r"        if acquired != Acquired::TimedOut {
            entered.stay();
        }"
        => "        drop(entered);";
};

const POSIX_LOCK: &[Planted] = planted! { "lock-sem/src/posix/lock.rs":
    "released-by-anybody" ["posix-sem"] "who lost the lock strikes out who has it now";
r"        if tenant(hot) != me {
            return Err(ErrorKind::NotHeld.into());
        }
        hot.end();"
        => "        hot.end();";
    "not-posted" ["posix-sem"] "a waiter sleeps on while the lock is free";
r#"        semaphore.give().map_err(|e| refused("sem_post", e))?;"#
        => "        let _ = semaphore;";
};

//! Semaphores.

use super::{Mutation, planted};

pub(super) const PLANTED: &[&[Mutation]] = &[SPAN, SEMAPHORE, LOCK, STATE, RECOVERY, POSIX_LOCK, POSIX_LINE, GATE, POSIX_WAIT];

const SPAN: &[Mutation] = planted! { "lock-sem/src/sysv/span.rs":
    "set-grows" ["sem"] "the locks of a store that was raised do not find their set";
"            _ if u64::from(id.get()) < created => (number, start, created),"
        => "            _ if u64::from(id.get()) < created => (number, start, end),";
    "two-sets-with-one-number" ["sem"] "two sets of a store have the same key";
"            _ => (number | GROWN, created, end),"
        => "            _ => (number, created, end),";
};

const SEMAPHORE: &[Mutation] = planted! { "lock-sem/src/sysv/semaphore.rs":
    "undo-missing" ["sem"] "a dead owner keeps the lock";
"        let take = [step(number, -1, UNDO | NOW), down_to_zero, is_zero, back_up];"
        => "        let take = [step(number, -1, NOW), down_to_zero, is_zero, back_up];";
    "seal-not-compared" ["sem"] "another program's semaphores are changed";
r"        match sys::value(self.set.id(), self.seal.number) {
            Ok(value) if value == self.seal.value => Ok(Outcome::Done),"
        => r"        match sys::value(self.set.id(), self.seal.number) {
            Ok(value) if value == self.seal.value || true => Ok(Outcome::Done),";
};

const LOCK: &[Mutation] = planted! { "lock-sem/src/sysv/lock.rs":
    "gate-left-open" ["sem"] "two threads of a process own the lock";
r"        if !matches!(acquired, Acquired::TimedOut) {
            gate.keep();
        }"
        => "        drop(gate);";
    "unit-not-given-and-armed" ["sem"] "a lock stays busy after a release that could not return its unit";
"        self.exchange(released, released.disarmed());"
        => "        let _ = released;";
};

const STATE: &[Mutation] = planted! { "lock-sem/src/sysv/state.rs":
    "unit-believed" ["sem"] "a unit from another program lets a thread in";
"        let free = now.is_armed() && !now.is_held() && now.is_of_same_term(before);"
        => "        let free = now.is_armed() && now.is_of_same_term(before);";
};

const RECOVERY: &[Mutation] = planted! { "lock-sem/src/sysv/recovery.rs":
    "taken-over-without-proof" ["sem"] "a lock is taken from a live owner";
"        if !free && !slot.table().is_dead(now.process()) {"
        => "        if !free && false {";
    "no-takeover" ["sem"] "the lock of an owner that executed another program stays locked";
"        if !free && !slot.table().is_dead(now.process()) {"
        => "        if !free {";
    "unit-taken-for-proof" ["sem"] "an owner that lost its undo is overwritten";
"            if !now.is_held() || slot.table().is_dead_or_dying(now.process()) {"
        => "            if true {";
    "unit-of-an-earlier-term-accepted" ["sem"] "a cleared unit admits a second owner";
"            if !now.is_armed() || (!now.is_of_same_term(before) && !semaphore.is_taken_by_us()?) {"
        => "            if !now.is_armed() {";
    "unit-kept" ["sem"] "units accumulate";
"                semaphore.destroy_if_taken()?;"
        => "                semaphore.give_if_taken()?;";
    "missing-unit-awaited" ["sem"] "a free lock without a unit stays busy";
"self.set_is_removed || self.is_unit_missing(now));"
        => "self.set_is_removed);";
};

const POSIX_LOCK: &[Mutation] = planted! { "lock-sem/src/posix/lock.rs":
    "released-by-anybody" ["posix-sem"] "an owner that lost the lock removes the next owner";
"        if !self.slot.clear_owner_unless_lost(me, proof.condition()) {"
        => "        line.clear_owner();\n        if false {";
    "broken-lock-kept" ["posix-sem"] "a broken lock cannot be acquired";
"        } else if before.is_broken() {"
        => "        } else if false && before.is_broken() {";
    "token-not-forgotten" ["posix-sem"] "a holder seems to have held a lock since before it acquired it";
"        line::forget_token(line);"
        => "";
    "newcomers-overtake-waiters" ["posix-sem"] "a thread that locks again immediately starves the others";
r"        if self.queue().may_be_reserved() {
            return None;
        }
"
        => "";
};

const POSIX_LINE: &[Mutation] = planted! { "lock-sem/src/posix/line.rs":
    "not-posted" ["posix-sem"] "a waiter sleeps although the lock is free";
r#"    semaphore.give().map_err(|e| call_error("sem_post", e))"#
        => "    let _ = semaphore;\n    Ok(())";
};

const GATE: &[Mutation] = planted! { "lock-sem/src/sysv/gate.rs":
    "wait-at-the-gate-not-recorded" ["sem"] "a thread that waits for another thread of its process is not listed";
r"            if is_busy {
                before_sleep();
            }"
        => "            let _ = &mut before_sleep;";
};

const POSIX_WAIT: &[Mutation] = planted! { "lock-sem/src/posix/wait.rs":
    "posix-wait-not-recorded" ["posix-sem"] "a waiting thread is not listed";
"                let limit = before_sleep();"
        => "                let limit = None;\n                let _ = &before_sleep;";
    "unit-not-passed-on" ["posix-sem"] "the thread that has waited longest sleeps while the lock is reserved for it";
"                line::pass_on(lock_line)?;"
        => "";
};

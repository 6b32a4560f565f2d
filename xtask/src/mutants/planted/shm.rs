//! Mutation changes in the lock word of shm, its robust list and its waiters.

use super::{Mutation, planted};

pub(super) const PLANTED: &[&[Mutation]] = &[ROBUST, LOCK, RECOVERY, STARVATION, WAITERS, LIST, MARK];

const ROBUST: &[Mutation] = planted! { "lock-shm/src/robust.rs":
    "wake-omitted" ["shm"] "a waiter sleeps on while the lock is free";
"    wake.perform(line);"
        => "    let _ = wake;";
    "pending-omitted-at-release" ["shm"] "an owner killed during its release leaves a lock that is never free, or a waiter asleep";
r"pub(crate) fn release(head: &Head, line: &LockLine, plain: bool) {
    set_pending(head, sys::address(&line.next));"
        => "pub(crate) fn release(head: &Head, line: &LockLine, plain: bool) {";
    "pending-omitted-at-take" ["shm"] "an owner killed between the changes of the word and the list keeps the lock";
r"pub(crate) fn acquire_free(head: &Head, line: &LockLine, me: Owner, tid: u32) -> Option<u64> {
    set_pending(head, sys::address(&line.next));"
        => "pub(crate) fn acquire_free(head: &Head, line: &LockLine, me: Owner, tid: u32) -> Option<u64> {";
    "not-linked" ["shm"] "a thread that ends keeps its lock";
r"    let taken = line.word.compare_exchange(0, tid, Acquire, Relaxed).is_ok().then(|| {
        sys::link_only(head, line);"
        => "    let taken = line.word.compare_exchange(0, tid, Acquire, Relaxed).is_ok().then(|| {";
    "owner-not-cleared" ["shm"] "a consistent release is reported as a death";
r"    line.clear_owner();
    match wait::release(line, plain) {"
        => "    match wait::release(line, plain) {";
    "exchange-mark-not-kept" ["shm"] "a release overwrites the bit of a sleeping waiter";
r"        if waiting != 0 {
            wait::keep_mark(line);
        }
"
        => "";
    "inconsistent-word-forgets-the-death" ["shm"] "after an owner that did not mark the lock consistent, the death is not reported";
"    wait::exchange(line, DIED).perform(line);"
        => "    wait::exchange(line, 0).perform(line);";
    "unlinked-from-the-wrong-list" ["shm"] "releasing a lock that is not in the full robust list corrupts both lists";
"    if owner(line.word.load(Relaxed)) < Owner::FIRST_IDENTITY {"
        => "    if owner(line.word.load(Relaxed)) <= u32::MAX {";
    "died-bit-lost" ["shm"] "a word that the kernel marked is not recognized as free";
r"pub(crate) fn owner(word: u32) -> u32 {
    word & TID"
        => r"pub(crate) fn owner(word: u32) -> u32 {
    word & (TID | DIED)";
};

const LOCK: &[Mutation] = planted! { "lock-shm/src/lock.rs":
    "waiting-process-recorded-without-thread" ["shm"] "a thread that waits for a lock of its process is not listed by its thread id";
"            waiting.begin(me.caller);"
        => "            waiting.begin(me.owner);";
    "waiters-bit-lost" ["shm"] "only the first of several waiters is woken";
r"        let mut waiters = 0;
        loop {"
        => r"        #[allow(unused_variables, unused_assignments, unused_mut)]
        let mut waiters = 0;
        loop {
            waiters = 0;";
    "already-held-unchecked" ["shm"] "a thread waits for itself";
"            } else if recovery::is_of(me.caller, number) && self.slot.line().owner() == me.caller {"
        => "            } else if false && self.slot.line().owner() == me.caller {";
    "already-held-by-the-number-alone" ["shm"] "a thread is confused with one of the same id in another PID namespace";
"            } else if recovery::is_of(me.caller, number) && self.slot.line().owner() == me.caller {"
        => "            } else if recovery::is_of(me.caller, number) {";
    "process-refused-as-its-thread" ["shm"] "a process is refused a lock that another of its threads releases";
"            } else if recovery::is_of(me.caller, number) && self.slot.line().owner() == me.caller {"
        => "            } else if recovery::is_of(me.owner, number) && self.slot.line().owner() == me.owner {";
    "process-as-its-thread" ["shm"] "the lock of a process ends with the thread that acquired it";
"        let owner = caller.process();"
        => "        let owner = caller;";
    "foreign-thread-as-one-at-home" ["shm"] "the kernel confuses a thread with one of the same id in another PID namespace";
"        let at_home = self.slot.current_owner_at_home(thread.id).is_some() && !thread.is_full();"
        => "        let at_home = !thread.is_full();";
    "list-never-full" ["shm"] "the kernel does not walk other robust mutexes of the thread";
"        let at_home = self.slot.current_owner_at_home(thread.id).is_some() && !thread.is_full();"
        => "        let at_home = self.slot.current_owner_at_home(thread.id).is_some();";
    "owner-not-compared-at-release" ["shm"] "a thread releases a lock that it has lost";
"        if line.owner() != me || !is_mine {"
        => "        if false && (line.owner() != me || !is_mine) {";
    "trying-proves-nothing" ["shm"] "an attempt without waiting never recovers a lock";
"if self.checked.is_due(CHECK) {"
        => "if false && self.checked.is_due(CHECK) {";
    "long-sleep-while-another-recovers" ["shm"] "a waiter sleeps on while the lock is free" shown "one of three only tries, one dies";
"Vacant::Claimed => longest = BLIND,"
        => "Vacant::Claimed => {}";
    "no-take-over" ["shm"] "a lock that the kernel does not walk stays locked";
r"                && word.load(Relaxed) == asleep
                && let"
        => r"                && word.load(Relaxed) == asleep
                && false
                && let";
    "pass-on-omitted" ["shm"] "a waiter that times out consumes the wake-up of another" shown "one of three times out, another locks twice";
r"                if waiters != 0 {
                    self.pass_on();
                }
"
        => "";
    "time-out-early" ["shm"] "a wait ends before its deadline";
"            if remaining.is_zero() {"
        => "            if remaining.as_millis() == 0 {";
};

const RECOVERY: &[Mutation] = planted! { "lock-shm/src/recovery.rs":
    "take-over-without-proof" ["shm"] "a lock is taken over from a live owner";
r"        table.is_gone(owner)
    } else {"
        => r"        true
    } else {";
    "number-gone-without-proof" ["shm"] "a lock is taken over from a live process that is acquiring or releasing it";
"table.is_identity_gone(number)"
        => "true";
    "recoverer-not-found-dead" ["shm"] "a lock stays locked after its owner died during the recovery";
"        number >= Owner::FIRST_IDENTITY && table"
        => "        owner.is_none() && number >= Owner::FIRST_IDENTITY && table";
    "recovery-without-claim" ["shm"] "a death is not reported, because two threads recover a lock";
"    if !slot.table().claim(claim, me.caller) {"
        => "    if false {";
    "vacant-word-without-claim" ["shm"] "a death is not reported, because two threads acquire a lock after an inconsistent release";
"    if present & DIED != 0 {"
        => "    if present & DIED != 0 && !slot.line().owner().is_none() {";
    "word-not-compared-under-the-claim" ["shm"] "the death of a live owner is reported";
"(line.word.load(Acquire) == present).then(|| line.owner())"
        => "Some(line.owner())";
    "owner-read-before-the-word" ["shm"] "the death of a live owner is reported";
"(line.word.load(Acquire) == present).then(|| line.owner())"
        => "Some(line.owner()).filter(|_| line.word.load(Acquire) == present)";
    "death-recorded-after-the-owner" ["shm"] "the death of an owner is reported to that owner";
"let taken = owner.map(|owner| (slot.record_death(owner), robust::acquire(me, line, present, WAITERS)));"
        => r"let taken = owner.map(|_| {
            let taken = robust::acquire(me, line, present, WAITERS);
            (slot.record_death(line.owner()), taken)
        });";
};

const STARVATION: &[Mutation] = planted! { "lock-shm/src/starvation.rs":
    "mark-of-starved-omitted" ["shm"] "a thread that immediately locks again overtakes a waiter without bound";
r"    if !is_marked(line) {
        line.waiters.fetch_or(MARK, Relaxed);
    }"
        => "    let _ = line;";
    "reservation-ignored" ["shm"] "a thread that immediately locks again takes the lock that is reserved for a waiter";
"    present & libc::FUTEX_WAITERS != 0 && !env::has_ended(start(line).load(Acquire))"
        => "    false && present != !env::has_ended(start(line).load(Acquire)) as u32";
    "reservation-never-ends" ["shm"] "an attempt finds a lock busy that is reserved for a killed waiter";
"    present & libc::FUTEX_WAITERS != 0 && !env::has_ended(start(line).load(Acquire))"
        => "    present & libc::FUTEX_WAITERS != 0 && start(line).load(Acquire) != u64::MAX";
    "reservation-wakes-nobody" ["shm"] "the waiter that a lock is reserved for sleeps on";
"    if sys::wake_one_of(&line.word, STARVED) {"
        => "    if line.word.load(Relaxed) != u32::MAX {";
};

const WAITERS: &[Mutation] = planted! { "lock-shm/src/wait.rs":
    "mark-not-checked" ["shm"] "a plain store overwrites the bit of a waiter";
"    if is_marked(line, PENDING | EXCHANGE) { Release::Wake } else { Release::Done }"
        => r"    let _ = PENDING | EXCHANGE;
    Release::Done";
    "waiters-bit-not-set" ["shm"] "a waiter sleeps without setting the bit";
r"    let asleep = present | WAITERS;
    if present"
        => r"    let asleep = present;
    if present";
    "marks-never-exchange" ["shm"] "a release is a plain store although a thread waits";
"    if !plain || is_marked(line, PENDING | EXCHANGE) {"
        => "    if !plain {";
    "barrier-omitted" ["shm"] "a release misses a thread that starts to wait";
"    if !sys::barrier() {"
        => "    if false {";
};

const LIST: &[Mutation] = planted! { "lock-shm/src/sys/list.rs":
    "prev-not-written" ["shm"] "releases in another order corrupt the list";
"    unsafe { set_prev(first, node) };"
        => "    let _ = first;";
    "unlink-forgets-next" ["shm"] "the list contains a released lock";
"        set_next(prev, next);"
        => "        let _ = prev;";
};

const MARK: &[Mutation] = planted! { "lock-shm/src/sys/mark.rs":
    "end-of-a-thread-marks-nothing" ["shm"] "locks of an ended thread that the kernel does not walk stay locked";
"        mark_as_dead(unsafe {"
        => "        drop::<&AtomicU32>(unsafe {";
    "end-of-a-thread-wakes-no-waiter" ["shm"] "a waiter is not woken when the owner's thread ends";
"    if marked.is_ok_and(|present| present & libc::FUTEX_WAITERS != 0) {"
        => "    if false && marked.is_ok_and(|present| present & libc::FUTEX_WAITERS != 0) {";
};

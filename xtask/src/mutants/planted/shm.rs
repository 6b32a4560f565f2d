//! The lock word of shm, its list and its waiters.

use super::{Planted, planted};

pub(super) const PLANTED: &[&[Planted]] = &[ROBUST, LOCK, WAITERS, SYS];

const ROBUST: &[Planted] = planted! { "lock-shm/src/robust.rs":
    "wake-omitted" ["shm"] "a waiter sleeps on while the lock is free";
r"    if wake {
        sys::wake_one(&hot.word);
    }"
        => "    let _ = wake;";
    "pending-omitted-at-release" ["shm"] "an owner killed while it releases leaves a lock that nobody gets, or a wake-up that nobody gives";
r"pub(crate) fn give(head: &Head, hot: &Hot, plain: bool) {
    begin(head, sys::address(&hot.next));"
        => "pub(crate) fn give(head: &Head, hot: &Hot, plain: bool) {";
    "pending-omitted-at-take" ["shm"] "an owner killed between word and list keeps the lock";
r"pub(crate) fn take_free(head: &Head, hot: &Hot, me: Owner, tid: u32) -> Option<u64> {
    begin(head, sys::address(&hot.next));"
        => "pub(crate) fn take_free(head: &Head, hot: &Hot, me: Owner, tid: u32) -> Option<u64> {";
    "not-linked" ["shm"] "a thread that ends keeps its lock";
r"    let taken = hot.word.compare_exchange(0, tid, Acquire, Relaxed).is_ok().then(|| {
        sys::link(head, hot);"
        => "    let taken = hot.word.compare_exchange(0, tid, Acquire, Relaxed).is_ok().then(|| {";
    "owner-not-struck-out" ["shm"] "a clean release is told as a death";
r"    hot.end();
    match waiters::release(hot, plain) {"
        => "    match waiters::release(hot, plain) {";
    "exchange-mark-not-kept" ["shm"] "a release writes over the bit of a sleeping waiter";
r"        if waiting != 0 {
            waiters::keep(hot);
        }
"
        => "";
    "died-bit-lost" ["shm"] "a word that the kernel marked is not recognised as free";
r"pub(crate) fn owner(word: u32) -> u32 {
    word & TID"
        => r"pub(crate) fn owner(word: u32) -> u32 {
    word & (TID | DIED)";
};

const LOCK: &[Planted] = planted! { "lock-shm/src/lock.rs":
    "waiters-bit-lost" ["shm"] "of several that wait, only the first is woken";
r"        let mut waiters = 0;
        loop {"
        => r"        #[allow(unused_variables, unused_assignments, unused_mut)]
        let mut waiters = 0;
        loop {
            waiters = 0;";
    "death-believed-without-proof" ["shm"] "a lock is taken from an owner that lives in another pid namespace" shown "one thread id in two namespaces, one dies";
"(present & DIED == 0 || self.is_believed())"
        => "(present & DIED == 0 || true)";
    "already-held-unchecked" ["shm"] "a thread waits for itself";
"            if robust::owner(present) == me.tid() && self.slot.hot().owner() == me {"
        => "            if false && self.slot.hot().owner() == me {";
    "already-held-by-tid-alone" ["shm"] "a thread is taken for another of the same id in another pid namespace";
"            if robust::owner(present) == me.tid() && self.slot.hot().owner() == me {"
        => "            if robust::owner(present) == me.tid() {";
    "take-over-without-proof" ["shm"] "a lock is taken from an owner that lives";
"if !its_word || dead.is_none() || !table.is_gone(dead) || !table.claim(claim, me) {"
        => "if !its_word || dead.is_none() || !table.claim(claim, me) {";
    "take-over-without-claim" ["shm"] "two take over from one dead owner" shown "one thread id in two namespaces, one dies";
"!table.is_gone(dead) || !table.claim(claim, me) {"
        => "!table.is_gone(dead) || { let _ = (claim, me); false } {";
    "next-owner-taken-for-the-dead" ["shm"] "a lock is taken from an owner that lives";
"let its_word = [0, dead.tid()].contains(&robust::owner(present));"
        => "let its_word = robust::owner(present) <= u32::MAX;";
    "no-take-over" ["shm"] "what the kernel does not walk stays locked";
r"            if word.load(Relaxed) == asleep
                && let"
        => r"            if word.load(Relaxed) == asleep
                && false
                && let";
    "pass-on-omitted" ["shm"] "who gives up swallows the wake-up of another" shown "one of three gives up, another locks twice";
r"                if waiters != 0 {
                    self.pass_on();
                }
"
        => "";
    "time-out-early" ["shm"] "a wait ends before its deadline";
"            if remaining.is_zero() {"
        => "            if remaining.as_millis() == 0 {";
};

const WAITERS: &[Planted] = planted! { "lock-shm/src/waiters.rs":
    "mark-not-looked-at" ["shm"] "a plain store writes over the bit of a waiter";
"    if is_marked(hot, COMING | EXCHANGE) { Release::Wake } else { Release::Done }"
        => r"    let _ = COMING | EXCHANGE;
    Release::Done";
    "waiters-bit-not-set" ["shm"] "a waiter sleeps without the bit that has it woken";
r"    let asleep = present | WAITERS;
    if present"
        => r"    let asleep = present;
    if present";
    "marks-never-exchange" ["shm"] "a release by plain store although somebody waits";
"    if !plain || is_marked(hot, COMING | EXCHANGE) {"
        => "    if !plain {";
    "barrier-omitted" ["shm"] "a release is missed by who comes to wait";
"    if !sys::barrier() {"
        => "    if false {";
};

const SYS: &[Planted] = planted! { "lock-shm/src/sys.rs":
    "prev-not-written" ["shm"] "locks released in another order tear the list";
"        unsafe { set_prev(first, node) };"
        => "        let _ = (first, node);";
    "unlink-forgets-next" ["shm"] "the list goes on with a lock that was released";
"        set_next(prev, next);"
        => "        let _ = prev;";
};

//! The planted bugs of the model, as data.

use crate::Result;
use crate::copy::{self, Change};

const LOCK: &str = "lock-shm/src/lock.rs";
const RECOVERY: &str = "lock-shm/src/recovery.rs";
const MARK: &str = "lock-shm/src/sys/mark.rs";
const ROBUST: &str = "lock-shm/src/robust.rs";
const STARVATION: &str = "lock-shm/src/starvation.rs";
const WAITERS: &str = "lock-shm/src/wait.rs";
const ALLOCATION: &str = "lock-table/src/allocation.rs";
const BITMAP: &str = "lock-table/src/bitmap.rs";
const OWNER: &str = "lock-table/src/owner.rs";
const OWNERSHIP: &str = "lock-table/src/slot/ownership.rs";
const RECORD: &str = "lock-table/src/record.rs";

/// A bug that can be switched on in a copy of the sources.
#[derive(Debug)]
pub(crate) struct Mutation {
    /// A short name.
    pub(crate) name: &'static str,
    /// The scenario that finds it.
    pub(crate) found_by: &'static str,
    /// The file, from the root of the repository.
    file: &'static str,
    /// A text that occurs once in the file.
    place: &'static str,
    /// The part of that text to replace: an expression, or statements.
    right: &'static str,
    /// The replacement.
    wrong: &'static str,
}

impl Mutation {
    /// Returns the text with a branch that is the bug if the bug is switched on.
    fn branch(&self) -> String {
        let either = format!("if crate::plant::is({:?}) {{ {} }} else {{ {} }}", self.name, self.wrong, self.right);
        let either = if self.right.ends_with(';') { either } else { format!("({either})") };
        self.place.replacen(self.right, &either, 1)
    }

    fn change<'a>(&'a self, branch: &'a str) -> Change<'a> {
        Change { name: self.name, file: self.file, find: self.place, replace: branch }
    }
}

/// Returns the files with all bugs planted, and their texts.
///
/// # Errors
/// If the text of a bug does not occur exactly once in its file.
pub(crate) fn planted_files() -> Result<Vec<(String, String)>> {
    let branches: Vec<String> = PLANTED.iter().map(Mutation::branch).collect();
    let changes = PLANTED.iter().zip(&branches).map(|(planted, branch)| planted.change(branch));
    Ok(copy::changed(changes)?.into_iter().map(|(file, text)| (file.to_owned(), text)).collect())
}

const fn bug(
    name: &'static str,
    found_by: &'static str,
    file: &'static str,
    place: &'static str,
    right: &'static str,
    wrong: &'static str,
) -> Mutation {
    Mutation { name, found_by, file, place, right, wrong }
}

/// All of them.
pub(crate) const PLANTED: &[Mutation] = &[
    bug(
        "a thread that has slept acquires the lock without the WAITERS bit",
        "three lock",
        RECOVERY,
        "(present & WAITERS) | waiters",
        "(present & WAITERS) | waiters",
        "present & WAITERS",
    ),
    bug(
        "a waiter that times out passes no wake-up on",
        "one of three times out, another locks twice",
        LOCK,
        "self.pass_on();",
        "self.pass_on();",
        "",
    ),
    bug(
        "the number in the word alone is taken for the owner",
        "two lock twice, one is foreign",
        LOCK,
        "recovery::is_of(me.caller, number) && self.slot.line().owner() == me.caller",
        "recovery::is_of(me.caller, number) && self.slot.line().owner() == me.caller",
        "recovery::is_of(me.caller, number)",
    ),
    bug(
        "a process is refused a lock that another of its threads releases",
        "two threads lock for their process",
        LOCK,
        "recovery::is_of(me.caller, number) && self.slot.line().owner() == me.caller",
        "recovery::is_of(me.caller, number) && self.slot.line().owner() == me.caller",
        "recovery::is_of(me.owner, number) && self.slot.line().owner() == me.owner",
    ),
    bug(
        "a lock of a process has the id of a thread in its word",
        "two processes lock, both die",
        LOCK,
        "CurrentOwner { owner, caller, number: owner.identity_number(), list: None }",
        "owner.identity_number()",
        "thread.id",
    ),
    bug(
        "the owner is not removed by a release for the process",
        "two processes lock twice, one dies",
        ROBUST,
        "line.clear_owner();\n    wake_after(",
        "line.clear_owner();",
        "",
    ),
    bug(
        "a foreign thread acquires a lock as one at home does",
        "two lock twice, one is foreign, one dies",
        LOCK,
        "let at_home = self.slot.current_owner_at_home(thread.id).is_some() && !thread.is_full();",
        "self.slot.current_owner_at_home(thread.id).is_some() && !thread.is_full()",
        "true",
    ),
    bug(
        "a foreign thread puts its thread id into the word",
        "two lock twice, one is foreign, one dies",
        LOCK,
        "number: owner.identity_number(), list",
        "owner.identity_number()",
        "thread.id",
    ),
    bug(
        "a dead owner's lock is recovered without a claim",
        "two do not mark after a death, one dies",
        RECOVERY,
        "if !slot.table().claim(claim, me.caller) {",
        "!slot.table().claim(claim, me.caller)",
        "false",
    ),
    bug(
        "a word left by an inconsistent release is acquired without the claim",
        "two lock after an inconsistent release, both die",
        RECOVERY,
        "if present & DIED != 0 {",
        "present & DIED != 0",
        "present & DIED != 0 && !slot.line().owner().is_none()",
    ),
    bug(
        "the word is not compared again under the claim",
        "two release inconsistently after a death",
        RECOVERY,
        "(line.word.load(Acquire) == present).then(|| line.owner())",
        "(line.word.load(Acquire) == present).then(|| line.owner())",
        "Some(line.owner())",
    ),
    bug(
        "the owner is read before the word is compared",
        "two release inconsistently after a death",
        RECOVERY,
        "(line.word.load(Acquire) == present).then(|| line.owner())",
        "(line.word.load(Acquire) == present).then(|| line.owner())",
        "Some(line.owner()).filter(|_| line.word.load(Acquire) == present)",
    ),
    bug(
        "the death is recorded after the owner was replaced",
        "two lock after a foreign death, one is foreign, both die",
        RECOVERY,
        "(slot.record_death(owner), robust::acquire(me, line, present, WAITERS))",
        "(slot.record_death(owner), robust::acquire(me, line, present, WAITERS))",
        "{ let taken = robust::acquire(me, line, present, WAITERS); let _ = owner; (slot.record_death(line.owner()), taken) }",
    ),
    bug(
        "a live owner's lock is taken over",
        "one only tries, one dies",
        RECOVERY,
        "        table.is_gone(owner)\n",
        "table.is_gone(owner)",
        "true",
    ),
    bug(
        "the death of an owner that was recovering a lock is not detected",
        "two lock after a foreign death, one is foreign, both die",
        RECOVERY,
        "number >= Owner::FIRST_IDENTITY && ",
        "number >= Owner::FIRST_IDENTITY",
        "owner.is_none() && number >= Owner::FIRST_IDENTITY",
    ),
    bug(
        "a live process's lock is taken over before its owner is recorded",
        "two foreign, one only tries, one dies",
        RECOVERY,
        "table.is_identity_gone(number)",
        "table.is_identity_gone(number)",
        "true",
    ),
    bug(
        "a waiter does not check whether the owner is dead",
        "two lock, one is foreign, both die",
        LOCK,
        "&& word.load(Relaxed) == asleep",
        "word.load(Relaxed) == asleep",
        "false",
    ),
    bug(
        "an attempt without waiting does not check whether the owner is dead",
        "two lock, one is foreign, both die",
        LOCK,
        "if self.checked.is_due(CHECK) {",
        "self.checked.is_due(CHECK)",
        "false",
    ),
    bug(
        "a waiter sleeps long while another recovers the lock",
        "one of three only tries, one dies",
        LOCK,
        "Vacant::Claimed => longest = BLIND",
        "longest = BLIND",
        "()",
    ),
    bug(
        "a release does not compare the owner",
        "a lock is released after it was lost",
        LOCK,
        "if line.owner() != me || !is_mine {",
        "line.owner() != me || !is_mine",
        "false",
    ),
    bug("no waiter is woken", "two lock twice", ROBUST, "    wake.perform(line);", "wake.perform(line);", ""),
    bug(
        "an inconsistent release wakes no waiter",
        "two release inconsistently after a death",
        ROBUST,
        "wait::exchange(line, DIED).perform(line);",
        "wait::exchange(line, DIED).perform(line);",
        "let _ = wait::exchange(line, DIED);",
    ),
    bug(
        "the word of an inconsistent release forgets the death",
        "two release inconsistently after a death",
        ROBUST,
        "wait::exchange(line, DIED).perform(line);",
        "wait::exchange(line, DIED)",
        "wait::exchange(line, 0)",
    ),
    bug(
        "an inconsistent release leaves no owner word that says so",
        "two release inconsistently after a death",
        OWNERSHIP,
        "self.line().clear_owner_inconsistent();",
        "self.line().clear_owner_inconsistent();",
        "self.line().clear_owner();",
    ),
    bug(
        "a panic is not recorded",
        "one panics, one dies",
        OWNERSHIP,
        "Condition::Panicked => self.death().store(me.with_note(Cause::Panicked.number()).word(), Relaxed),",
        "self.death().store(me.with_note(Cause::Panicked.number()).word(), Relaxed)",
        "()",
    ),
    bug(
        "an acquisition does not set list_op_pending",
        "two lock, both die",
        ROBUST,
        "set_pending(head, sys::address(&line.next));\n    let taken = line.word.compare_exchange(0, tid",
        "set_pending(head, sys::address(&line.next));",
        "",
    ),
    bug(
        "a release does not set list_op_pending",
        "two lock, both die",
        ROBUST,
        "set_pending(head, sys::address(&line.next));\n    if !sys::unlink_only",
        "set_pending(head, sys::address(&line.next));",
        "",
    ),
    bug(
        "the owner is not removed",
        "two lock twice, one dies",
        ROBUST,
        "line.clear_owner();\n    match",
        "line.clear_owner();",
        "",
    ),
    bug(
        "a lock is unlinked from the wrong list",
        "one of two locks is beyond the room in the list, one dies",
        ROBUST,
        "if owner(line.word.load(Relaxed)) < Owner::FIRST_IDENTITY {",
        "owner(line.word.load(Relaxed)) < Owner::FIRST_IDENTITY",
        "true",
    ),
    bug(
        "a thread that acquires the lock with the bit makes no mark",
        "three lock, the marks are cleared",
        ROBUST,
        "wait::keep_mark(line);",
        "wait::keep_mark(line);",
        "",
    ),
    bug(
        "the end of a thread marks nothing",
        "a foreign thread ends while it holds",
        MARK,
        "        mark_as_dead(unsafe {",
        "mark_as_dead",
        "drop::<&AtomicU32>",
    ),
    bug(
        "the end of a thread wakes no waiter",
        "a foreign thread ends while it holds",
        MARK,
        "        wake_one(word);",
        "wake_one(word);",
        "",
    ),
    bug(
        "a reserved lock stays reserved although no starved thread sleeps",
        "two lock twice, one is starved",
        STARVATION,
        "if !has_owner && line.word",
        "!has_owner",
        "false",
    ),
    bug(
        "the starved thread is not woken",
        "two lock twice, one is starved",
        STARVATION,
        "if sys::wake_one_of(&line.word, STARVED) {",
        "sys::wake_one_of(&line.word, STARVED)",
        "true",
    ),
    bug(
        "a reservation never ends",
        "two lock, both are starved, both die",
        STARVATION,
        "present & libc::FUTEX_WAITERS != 0 && !env::has_ended(start(line).load(Acquire))",
        "!env::has_ended(start(line).load(Acquire))",
        "true",
    ),
    bug(
        "a reserved lock forgets the death",
        "two release inconsistently after a death, one is starved, one dies",
        STARVATION,
        "line.word.store(free | libc::FUTEX_WAITERS, Release);",
        "free | libc::FUTEX_WAITERS",
        "libc::FUTEX_WAITERS",
    ),
    bug("a waiter executes no barrier", "two lock twice", WAITERS, "if !sys::barrier() {", "!sys::barrier()", "false"),
    bug(
        "a waiter does not check the mark again",
        "two lock twice, the marks are cleared",
        WAITERS,
        "if is_marked(line, if sure { EXCHANGE } else { PENDING | EXCHANGE }) {",
        "is_marked(line, if sure { EXCHANGE } else { PENDING | EXCHANGE })",
        "true",
    ),
    bug(
        "an owner does not check the mark after its store",
        "two lock twice",
        WAITERS,
        "if is_marked(line, PENDING | EXCHANGE) { Release::Wake } else { Release::Done }",
        "is_marked(line, PENDING | EXCHANGE)",
        "false",
    ),
    bug(
        "the generations of marks are not counted",
        "three lock, one twice, the marks are cleared",
        WAITERS,
        "(marked & !(PENDING | EXCHANGE | starvation::MARK)).wrapping_add(GENERATION)",
        "(marked & !(PENDING | EXCHANGE | starvation::MARK)).wrapping_add(GENERATION)",
        "marked & !(PENDING | EXCHANGE | starvation::MARK)",
    ),
    bug(
        "the hints are trusted over the leaves",
        "one frees the last id, one searches for it, one dies",
        ALLOCATION,
        "while let Some(index) = find(&segment.allocated(), from) {",
        "find(&segment.allocated(), from)",
        "segment.allocated().find(from)",
    ),
    bug(
        "an id is published before its label is written",
        "two allocate and free, both die",
        ALLOCATION,
        "allocated = Some(record.write(label, tag, allocator));\n            bits.set(index);",
        "allocated = Some(record.write(label, tag, allocator));\n            bits.set(index);",
        "bits.set(index); allocated = Some(record.write(label, tag, allocator));",
    ),
    bug("a claim is not released", "two allocate and free, both die", ALLOCATION, "record.unclaim();", "record.unclaim();", ""),
    bug(
        "an allocated id is allocated again",
        "two want the same id, one dies",
        ALLOCATION,
        "let free = !bits.get(index);",
        "!bits.get(index)",
        "true",
    ),
    bug(
        "a free leaves the hint that a word is full",
        "one frees the last id, one searches for it",
        BITMAP,
        "self.clear_hints(0, index / BITS);",
        "self.clear_hints(0, index / BITS);",
        "",
    ),
    bug(
        "a reader does not check whether the record was changed",
        "one reads what another allocates",
        RECORD,
        "(self.0[AT_GENERATION].load(Relaxed) == sequence).then_some",
        "self.0[AT_GENERATION].load(Relaxed) == sequence",
        "true",
    ),
    bug(
        "the claim of a live thread is taken over",
        "two claim twice, one dies",
        OWNER,
        "(present == 0 || is_dead(Self(present)))",
        "present == 0 || is_dead(Self(present))",
        "true",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_scenario_and_changes_something() {
        let scenarios = lock_model::scenarios();
        for bug in PLANTED {
            assert!(scenarios.iter().any(|scenario| scenario.name == bug.found_by), "{}", bug.name);
            assert!(bug.place.matches(bug.right).count() == 1 && bug.right != bug.wrong, "{}", bug.name);
        }
    }
}

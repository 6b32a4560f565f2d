//! Bugs that can be switched on in the copies of the sources, to see that they are found. Shared with the build script.

/// A bug.
#[derive(Debug)]
pub struct Planted {
    /// How it is called.
    pub name: &'static str,
    /// The scenario that finds it.
    #[allow(dead_code, reason = "only the library needs it")]
    pub found_by: &'static str,
    /// The source it is planted into.
    #[allow(dead_code, reason = "only the build script needs it, here and below")]
    pub(crate) file: &'static str,
    /// A text that is in the source once, and what is changed is in it once.
    #[allow(dead_code)]
    pub(crate) place: &'static str,
    /// What the source says: an expression, or statements.
    #[allow(dead_code)]
    pub(crate) right: &'static str,
    /// What it says with the bug.
    #[allow(dead_code)]
    pub(crate) wrong: &'static str,
}

const fn bug(
    name: &'static str,
    found_by: &'static str,
    file: &'static str,
    place: &'static str,
    right: &'static str,
    wrong: &'static str,
) -> Planted {
    Planted { name, found_by, file, place, right, wrong }
}

/// All of them.
pub const PLANTED: &[Planted] = &[
    bug(
        "who has slept takes the lock without the WAITERS bit",
        "three lock",
        "lock.rs",
        "(present & WAITERS) | waiters",
        "(present & WAITERS) | waiters",
        "present & WAITERS",
    ),
    bug(
        "a waiter that gives up passes no wake-up on",
        "one of three gives up, another locks twice",
        "lock.rs",
        "self.pass_on();",
        "self.pass_on();",
        "",
    ),
    bug(
        "a thread id alone is taken for the owner",
        "one thread id in two namespaces",
        "lock.rs",
        "robust::owner(present) == me.tid() && self.slot.hot().owner() == me",
        "robust::owner(present) == me.tid() && self.slot.hot().owner() == me",
        "robust::owner(present) == me.tid()",
    ),
    bug(
        "who takes over does not look again",
        "one thread id in two namespaces, one dies",
        "lock.rs",
        "let same = hot.owner() == dead;",
        "hot.owner() == dead",
        "true",
    ),
    bug(
        "an owner that lives is taken over",
        "three lock",
        "lock.rs",
        "|| !table.is_gone(dead) ||",
        "!table.is_gone(dead)",
        "false",
    ),
    bug("nobody is woken", "two lock twice", "robust.rs", "sys::wake_one(&hot.word);", "sys::wake_one(&hot.word);", ""),
    bug(
        "the kernel is not told before a lock is taken",
        "two lock, both die",
        "robust.rs",
        "begin(head, sys::address(&hot.next));\n    let taken = hot.word.compare_exchange(0, tid",
        "begin(head, sys::address(&hot.next));",
        "",
    ),
    bug(
        "the kernel is not told before a lock is given back",
        "two lock, both die",
        "robust.rs",
        "begin(head, sys::address(&hot.next));\n    if !sys::unlink_only",
        "begin(head, sys::address(&hot.next));",
        "",
    ),
    bug("the owner is not struck out", "two lock twice", "robust.rs", "hot.end();\n    match", "hot.end();", ""),
    bug(
        "who takes the lock with the bit makes no mark",
        "three lock, the marks go away",
        "robust.rs",
        "waiters::keep(hot);",
        "waiters::keep(hot);",
        "",
    ),
    bug("a waiter has no barrier come", "two lock twice", "waiters.rs", "if !sys::barrier() {", "!sys::barrier()", "false"),
    bug(
        "a waiter does not look at the mark again",
        "two lock twice, the marks go away",
        "waiters.rs",
        "if is_marked(hot, if sure { EXCHANGE } else { COMING | EXCHANGE }) {",
        "is_marked(hot, if sure { EXCHANGE } else { COMING | EXCHANGE })",
        "true",
    ),
    bug(
        "an owner does not look at the mark after its store",
        "two lock twice",
        "waiters.rs",
        "if is_marked(hot, COMING | EXCHANGE) { Release::Wake } else { Release::Done }",
        "is_marked(hot, COMING | EXCHANGE)",
        "false",
    ),
    bug(
        "rounds are not counted",
        "three lock, one twice, the marks go away",
        "waiters.rs",
        "(marked & !(COMING | EXCHANGE)).wrapping_add(ROUND)",
        "(marked & !(COMING | EXCHANGE)).wrapping_add(ROUND)",
        "marked & !(COMING | EXCHANGE)",
    ),
    bug(
        "the hints are trusted over the leaves",
        "two allocate and free, both die",
        "allocation.rs",
        "while let Some(index) = find(&segment.allocated(), from) {",
        "find(&segment.allocated(), from)",
        "segment.allocated().find(from)",
    ),
    bug(
        "an id is published before its label is written",
        "two allocate and free, both die",
        "allocation.rs",
        "record.write(label, &self.command);\n            segment.allocated().set(index);",
        "record.write(label, &self.command);\n            segment.allocated().set(index);",
        "segment.allocated().set(index); record.write(label, &self.command);",
    ),
    bug(
        "a claim is not given back",
        "two allocate and free, both die",
        "allocation.rs",
        "record.unclaim();",
        "record.unclaim();",
        "",
    ),
    bug(
        "an id is allocated that is allocated",
        "two want the same id, one dies",
        "allocation.rs",
        "let free = !segment.allocated().get(index);",
        "!segment.allocated().get(index)",
        "true",
    ),
    bug(
        "who hints that a word is full does not look again",
        "one frees what it allocates, one keeps it",
        "bitmap.rs",
        "if self.words[level.start + at].load(SeqCst) != FULL {",
        "self.words[level.start + at].load(SeqCst) != FULL",
        "false",
    ),
    bug(
        "a reader does not look whether what it read was changed",
        "one reads what another allocates",
        "record.rs",
        "(self.0[AT_GENERATION].load(Relaxed) == sequence).then_some",
        "self.0[AT_GENERATION].load(Relaxed) == sequence",
        "true",
    ),
    bug(
        "whoever finds a claim takes it",
        "two claim twice, one dies",
        "owner.rs",
        "(present == 0 || is_dead(Self(present)))",
        "present == 0 || is_dead(Self(present))",
        "true",
    ),
];

//! Which threads there are, what they do, and what may happen to them.

use crate::bounds::{EARLIER, OBSERVER, THREADS};

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Acquires this lock, marks it consistent if it is told of a death, and releases it.
    Lock(usize),
    /// Acquires this lock and releases it; does not mark it consistent.
    Leave(usize),
    /// Acquires this lock and releases it while it panics.
    Panic(usize),
    /// As [`Act::Lock`] of lock 0, if that needs no waiting.
    TryLock,
    /// As [`Act::Lock`] of lock 0, waiting until a deadline that passes at any time, or never.
    TimedLock,
    /// Acquires lock 0 and then lock 1, and releases them in the same order.
    Both,
    /// Acquires this lock, and ends the thread.
    End(usize),
    /// Acquires lock 0 and then lock 1, and ends the thread.
    EndBoth,
    /// Acquires this lock, has it marked as at the end of the thread, and releases it, which is refused.
    Late(usize),
    /// Allocates an id and frees it.
    Allocate,
    /// Allocates an id and keeps it.
    Keep,
    /// Allocates and frees this one of the ids that are free at the start.
    Exactly(usize),
    /// Reads the allocation of the first of those ids.
    Read,
    /// Claims a word and gives it back.
    Claim,
}

/// What an earlier owner left of lock 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    Nothing,
    /// It died inside, and the kernel marked the word.
    Death,
    /// It died inside, of another PID namespace: its number is in the word.
    ForeignDeath,
    /// It released the lock without marking it consistent after a death.
    Inconsistent,
}

/// A few threads, what they do, and what may happen to them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How it is called.
    pub name: &'static str,
    pub(crate) threads: Vec<Vec<Act>>,
    /// How many threads may die.
    pub(crate) deaths: usize,
    /// How often a sleep may end for no reason.
    pub(crate) interrupts: usize,
    /// Whether the kernel serves the lists of the dead.
    pub(crate) served: bool,
    /// Whether threads also die in the middle of a change of the list and the word.
    pub(crate) dies_in_between: bool,
    /// How much there is to do.
    pub(crate) long: bool,
    /// Threads of another PID namespace than the store's creator. The first of them has the thread id of the first of the others, and
    /// so on.
    foreign: &'static [usize],
    /// A thread whose list has room for so many locks.
    room: Option<(usize, usize)>,
    /// Two threads of one process. Every other thread is alone in its process.
    one_process: Option<(usize, usize)>,
    /// A thread in whose process the barrier is forbidden.
    without_barriers: Option<usize>,
    pub(crate) left: Left,
    /// The token that the locks begin with.
    pub(crate) token: u64,
}

impl Scenario {
    pub(crate) fn new(name: &'static str, threads: &[&[Act]]) -> Self {
        assert!(threads.len() <= THREADS, "{name}");
        let threads = threads.iter().map(|acts| acts.to_vec()).collect();
        Self {
            name,
            threads,
            deaths: 0,
            interrupts: 0,
            served: true,
            dies_in_between: true,
            long: false,
            foreign: &[],
            room: None,
            one_process: None,
            without_barriers: None,
            left: Left::Nothing,
            token: 0,
        }
    }

    pub(crate) fn deaths(self, deaths: usize) -> Self {
        Self { deaths, ..self }
    }

    pub(crate) fn interrupts(self, interrupts: usize) -> Self {
        Self { interrupts, ..self }
    }

    pub(crate) fn not_served(self) -> Self {
        Self { served: false, ..self }
    }

    pub(crate) fn not_in_between(self) -> Self {
        Self { dies_in_between: false, ..self }
    }

    pub(crate) fn long(self) -> Self {
        Self { long: true, ..self }
    }

    pub(crate) fn foreign(self, foreign: &'static [usize]) -> Self {
        Self { foreign, ..self }
    }

    pub(crate) fn with_room(self, thread: usize, locks: usize) -> Self {
        Self { room: Some((thread, locks)), ..self }
    }

    pub(crate) fn one_process(self, one: usize, other: usize) -> Self {
        Self { one_process: Some((one, other)), ..self }
    }

    pub(crate) fn left(self, left: Left) -> Self {
        Self { left, ..self }
    }

    pub(crate) fn without_barriers(self, thread: usize) -> Self {
        Self { without_barriers: Some(thread), ..self }
    }

    pub(crate) fn token(self, token: u64) -> Self {
        Self { token, ..self }
    }

    /// Whether it has so many states that it takes longer than a few seconds.
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// How many of them may die.
    pub fn most_deaths(&self) -> usize {
        self.deaths
    }

    pub(crate) fn is_at_home(&self, thread: usize) -> bool {
        match thread {
            OBSERVER => true,
            EARLIER => self.left != Left::ForeignDeath,
            _ => !self.foreign.contains(&thread),
        }
    }

    /// The thread's id in its PID namespace.
    pub(crate) fn tid(&self, thread: usize) -> u32 {
        11 + (0..thread).filter(|other| self.is_at_home(*other) == self.is_at_home(thread)).count() as u32
    }

    /// The process of a thread.
    pub(crate) fn process(&self, thread: usize) -> usize {
        match self.one_process {
            Some((one, other)) if thread == other => one,
            _ => thread,
        }
    }

    /// Whether a thread's process takes part in barriers.
    pub(crate) fn has_barriers(&self, thread: usize) -> bool {
        self.without_barriers != Some(thread)
    }

    /// How many locks there is room for in the thread's list, if that is ever an obstacle.
    pub(crate) fn room(&self, thread: usize) -> Option<usize> {
        self.room.filter(|room| room.0 == thread).map(|room| room.1)
    }

    /// Whether it puts numbers into words that are no thread ids.
    pub(crate) fn uses_identity(&self, thread: usize) -> bool {
        !self.is_at_home(thread) || self.room(thread).is_some()
    }

    /// Whether a sleep may have to end by its bound although no thread dies.
    pub(crate) fn oversleeps(&self) -> bool {
        !self.served || self.left == Left::ForeignDeath
    }

    /// Whether a lock may be lost: in the middle of a change, the owner is not written down yet, or no more.
    pub(crate) fn may_lose_locks(&self) -> bool {
        !self.served && self.dies_in_between
    }

    /// Whether a thread reads what another may be writing to a record.
    pub(crate) fn reads(&self) -> bool {
        self.acts().any(|act| act == Act::Read)
    }

    /// The threads, the observer, and an earlier owner.
    pub(crate) fn all_threads(&self) -> impl Iterator<Item = usize> {
        (0..self.threads()).chain([OBSERVER, EARLIER])
    }

    pub(crate) fn acts(&self) -> impl Iterator<Item = Act> {
        self.threads.iter().flatten().copied()
    }
}

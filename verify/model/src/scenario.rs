//! Scenarios: the acts of a few threads, and the faults that may occur.

use crate::bounds::{EARLIER, OBSERVER, THREADS};

/// An act of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Acquires this lock, marks it consistent if a death is reported, and releases it.
    Lock(usize),
    /// Does [`Act::Lock`] for the process of the thread.
    Send(usize),
    /// Acquires this lock and releases it without marking it consistent.
    Leave(usize),
    /// Acquires this lock and releases it in a panic.
    Panic(usize),
    /// Does [`Act::Lock`] on lock 0 if that needs no waiting.
    TryLock,
    /// Does [`Act::Lock`] on lock 0 with a deadline that passes at any time, or never.
    TimedLock,
    /// Acquires lock 0 and then lock 1, and releases them in the same order.
    Both,
    /// Acquires this lock, and ends the thread.
    End(usize),
    /// Acquires lock 0 and then lock 1, and ends the thread.
    EndBoth,
    /// Acquires this lock, marks it as at the end of the thread, and checks that its release is refused.
    Late(usize),
    /// Allocates an id and frees it.
    Allocate,
    /// Allocates an id and keeps it.
    Keep,
    /// Allocates and frees the id with this index among the initially free ids.
    Exactly(usize),
    /// Reads the allocation of the first initially free id.
    Read,
    /// Claims a word and releases the claim.
    Claim,
}

/// The initial state of lock 0, left by an earlier owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InitialLock {
    /// The lock is free and consistent.
    Free,
    /// The owner died inside, and the kernel marked the word.
    Death,
    /// A foreign owner died inside. Its identity number is in the word.
    ForeignDeath,
    /// The owner released the lock after a death without marking it consistent.
    Inconsistent,
}

/// The acts of a few threads, and the faults that may occur.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The name.
    pub name: &'static str,
    pub(crate) threads: Vec<Vec<Act>>,
    /// Maximum number of deaths.
    pub(crate) deaths: usize,
    /// Maximum number of spurious wake-ups.
    pub(crate) interrupts: usize,
    /// Whether the kernel walks the robust lists of dead threads.
    pub(crate) walked: bool,
    /// Whether threads also die while they change a word and a list.
    pub(crate) dies_in_between: bool,
    /// Whether the search takes longer than a few seconds.
    pub(crate) long: bool,
    /// The threads outside the PID namespace of the store's creator. The first of them has the thread id of the first thread at home, and
    /// so on.
    foreign: &'static [usize],
    /// A thread and the number of locks that its robust list has room for.
    room: Option<(usize, usize)>,
    /// Two threads of one process. Every other thread is alone in its process.
    one_process: Option<(usize, usize)>,
    /// The threads that are starved from the start of each wait.
    starving: &'static [usize],
    /// A thread whose process cannot use `membarrier`.
    without_barriers: Option<usize>,
    pub(crate) initial: InitialLock,
    /// The initial token of the locks.
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
            walked: true,
            dies_in_between: true,
            long: false,
            foreign: &[],
            room: None,
            one_process: None,
            starving: &[],
            without_barriers: None,
            initial: InitialLock::Free,
            token: 0,
        }
    }

    pub(crate) fn deaths(self, deaths: usize) -> Self {
        Self { deaths, ..self }
    }

    pub(crate) fn interrupts(self, interrupts: usize) -> Self {
        Self { interrupts, ..self }
    }

    pub(crate) fn not_walked(self) -> Self {
        Self { walked: false, ..self }
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

    pub(crate) fn starving(self, starving: &'static [usize]) -> Self {
        Self { starving, ..self }
    }

    pub(crate) fn initial(self, initial: InitialLock) -> Self {
        Self { initial, ..self }
    }

    pub(crate) fn without_barriers(self, thread: usize) -> Self {
        Self { without_barriers: Some(thread), ..self }
    }

    pub(crate) fn token(self, token: u64) -> Self {
        Self { token, ..self }
    }

    /// Returns whether the search takes longer than a few seconds.
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// Returns the number of threads.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Returns the maximum number of deaths.
    pub fn most_deaths(&self) -> usize {
        self.deaths
    }

    pub(crate) fn is_at_home(&self, thread: usize) -> bool {
        match thread {
            OBSERVER => true,
            EARLIER => self.initial != InitialLock::ForeignDeath,
            _ => !self.foreign.contains(&thread),
        }
    }

    /// Returns the thread's id in its PID namespace.
    pub(crate) fn tid(&self, thread: usize) -> u32 {
        11 + (0..thread).filter(|other| self.is_at_home(*other) == self.is_at_home(thread)).count() as u32
    }

    /// Returns the process of a thread.
    pub(crate) fn process(&self, thread: usize) -> usize {
        match self.one_process {
            Some((one, other)) if thread == other => one,
            _ => thread,
        }
    }

    /// Returns whether a thread's process is registered for barriers.
    pub(crate) fn has_barriers(&self, thread: usize) -> bool {
        self.without_barriers != Some(thread)
    }

    /// Returns whether a thread is starved from the start of each wait.
    pub(crate) fn starves(&self, thread: usize) -> bool {
        self.starving.contains(&thread)
    }

    /// Returns the number of locks that the thread's robust list has room for, or `None` if it never becomes full.
    pub(crate) fn room(&self, thread: usize) -> Option<usize> {
        self.room.filter(|room| room.0 == thread).map(|room| room.1)
    }

    /// Returns whether the thread uses its identity number in lock words, for itself or for its process.
    pub(crate) fn uses_identity(&self, thread: usize) -> bool {
        let sends =
            |thread: usize| self.threads.get(thread).is_some_and(|acts| acts.iter().any(|act| matches!(act, Act::Send(_))));
        !self.is_at_home(thread) || self.room(thread).is_some() || sends(thread)
    }

    /// Returns whether a sleep may reach its time limit although no thread dies.
    pub(crate) fn oversleeps(&self) -> bool {
        !self.walked || self.initial == InitialLock::ForeignDeath
    }

    /// Returns whether a lock may be lost: a thread dies while the owner is not recorded, and its robust list is not walked.
    pub(crate) fn may_lose_locks(&self) -> bool {
        !self.walked && self.dies_in_between
    }

    /// Returns whether a thread reads a record that another thread may be writing to.
    pub(crate) fn reads(&self) -> bool {
        self.acts().any(|act| act == Act::Read)
    }

    /// Returns the threads, the observer, and the earlier owner.
    pub(crate) fn all_threads(&self) -> impl Iterator<Item = usize> {
        (0..self.threads()).chain([OBSERVER, EARLIER])
    }

    pub(crate) fn acts(&self) -> impl Iterator<Item = Act> {
        self.threads.iter().flatten().copied()
    }
}

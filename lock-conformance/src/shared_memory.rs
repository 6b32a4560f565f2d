//! Shared memory of a case and its peers: data that locks protect, and observed violations.
//!
//! A critical section increments a plain counter with a redo log: it records the new value, stores it, and clears the record. A kill
//! may come between any two steps. The next owner completes the increment of a dead one, so the final sum is exact. A wrong sum
//! shows that two owners were in a critical section at the same time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use lock_core::Token;

use crate::sys;

/// Maximum number of processes or threads.
pub(crate) const SLOTS: usize = 24;
/// Capacity of the list of killed pids.
pub(crate) const KILLED: usize = 1024;

const GO: usize = 0;
const STOP: usize = 1;
const KILLS: usize = 2;
const FIRST_KILLED: usize = 8;
const FIRST_LOCK: usize = FIRST_KILLED + KILLED;
const LOCK_WORDS: usize = 48;

/// The kinds of violation in critical sections, with their messages.
pub(crate) const WRONGS: [(Wrong, &str); 7] = [
    (Wrong::TwoInside, "found another thread in its critical section"),
    (Wrong::Untold, "got no report of the previous owner's death"),
    (Wrong::Misnamed, "got a report that names another process than the one that died"),
    (Wrong::Cause, "got a report of another cause than that of the death"),
    (Wrong::Invented, "got a report of a death that did not happen"),
    (Wrong::Token, "got a token that is not greater than the one before"),
    (Wrong::Failed, "got an error"),
];

/// A violation that a peer observed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    TwoInside,
    Untold,
    Misnamed,
    Cause,
    Invented,
    Token,
    Failed,
}

/// The shared words.
#[derive(Clone, Copy)]
pub(crate) struct SharedMemory {
    words: &'static [AtomicU64],
}

/// The words that a lock protects.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    words: &'static [AtomicU64],
}

impl SharedMemory {
    /// Creates the file for this many locks.
    pub(crate) fn create(path: &Path, locks: usize) -> io::Result<Self> {
        let words = FIRST_LOCK + locks * LOCK_WORDS;
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len((words * size_of::<u64>()) as u64)?;
        Ok(Self { words: sys::map_words(&file, words)? })
    }

    /// Opens an existing file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let words = file.metadata()?.len() as usize / size_of::<u64>();
        Ok(Self { words: sys::map_words(&file, words)? })
    }

    pub(crate) fn place(self, lock: usize) -> Place {
        let first = FIRST_LOCK + lock * LOCK_WORDS;
        Place { words: &self.words[first..first + LOCK_WORDS] }
    }

    /// Returns the number of locks.
    pub(crate) fn places(self) -> usize {
        (self.words.len() - FIRST_LOCK) / LOCK_WORDS
    }

    /// Lets all peers start.
    pub(crate) fn go(self) {
        self.words[GO].store(1, Release);
    }

    /// Waits for [`SharedMemory::go`].
    pub(crate) fn wait_for_go(self) {
        while self.words[GO].load(Acquire) == 0 {
            std::thread::yield_now();
        }
    }

    /// Tells all peers to finish.
    pub(crate) fn stop(self) {
        self.words[STOP].store(1, Release);
    }

    /// Reverts [`SharedMemory::stop`] for the peers that start next.
    #[cfg(feature = "soak")]
    pub(crate) fn go_on(self) {
        self.words[STOP].store(0, Release);
    }

    pub(crate) fn is_stopped(self) -> bool {
        self.words[STOP].load(Acquire) != 0
    }

    /// Records that a process is about to be killed; returns false if the list is full.
    pub(crate) fn note_kill(self, pid: u32) -> bool {
        let kills = self.words[KILLS].load(Relaxed) as usize;
        if kills == KILLED {
            return false;
        }
        self.words[FIRST_KILLED + kills].store(u64::from(pid), Relaxed);
        self.words[KILLS].store(kills as u64 + 1, Release);
        true
    }

    pub(crate) fn kills(self) -> u64 {
        self.words[KILLS].load(Acquire)
    }

    pub(crate) fn was_killed(self, pid: u64) -> bool {
        let kills = self.kills() as usize;
        self.words[FIRST_KILLED..FIRST_KILLED + kills].iter().any(|killed| killed.load(Relaxed) == pid)
    }
}

const VALUE: usize = 0;
const INSIDE: usize = 1;
const DEATHS: usize = 2;
const TOKEN: usize = 3;
const INTENT_SLOT: usize = 4;
const INTENT_VALUE: usize = 5;
const INTENT_DONE: usize = 6;
const FIRST_WRONG: usize = 8;
const FIRST_DONE: usize = 20;

impl Place {
    /// Returns the mark of the process in the critical section, for example its pid; 0 if there is none.
    pub(crate) fn inside(self) -> u64 {
        self.words[INSIDE].load(Acquire)
    }

    pub(crate) fn enter(self, who: impl Into<u64>) {
        self.words[INSIDE].store(who.into(), Release);
    }

    pub(crate) fn leave(self) {
        self.words[INSIDE].store(0, Release);
    }

    /// Returns the counter.
    pub(crate) fn value(self) -> u64 {
        self.words[VALUE].load(Acquire)
    }

    /// Returns the number of completed sections, as counted by the processes that executed them.
    pub(crate) fn done(self) -> u64 {
        self.words[FIRST_DONE..FIRST_DONE + SLOTS].iter().map(|done| done.load(Acquire)).sum()
    }

    /// Returns the number of completed sections of this slot.
    pub(crate) fn done_by(self, slot: usize) -> u64 {
        self.words[FIRST_DONE + slot].load(Acquire)
    }

    /// Returns how often an owner found that its predecessor had died in the critical section.
    pub(crate) fn deaths(self) -> u64 {
        self.words[DEATHS].load(Acquire)
    }

    pub(crate) fn note_death(self) {
        self.words[DEATHS].store(self.deaths() + 1, Release);
    }

    pub(crate) fn note(self, wrong: Wrong) {
        self.words[FIRST_WRONG + wrong as usize].fetch_add(1, Release);
    }

    pub(crate) fn noted(self, wrong: Wrong) -> u64 {
        self.words[FIRST_WRONG + wrong as usize].load(Acquire)
    }

    /// Replaces the last token and returns it.
    pub(crate) fn exchange_token(self, token: Option<Token>) -> Option<Token> {
        let last = self.words[TOKEN].load(Acquire);
        self.words[TOKEN].store(token.map_or(0, Token::get), Release);
        (last != 0).then(|| Token::new(last))
    }

    /// Increments the counter, and runs `meanwhile` between the load and the store.
    pub(crate) fn add_one(self, slot: usize, meanwhile: impl FnOnce()) {
        let value = self.words[VALUE].load(Acquire);
        let done = self.words[FIRST_DONE + slot].load(Acquire);
        self.words[INTENT_VALUE].store(value + 1, Release);
        self.words[INTENT_DONE].store(done + 1, Release);
        self.words[INTENT_SLOT].store(slot as u64 + 1, Release);
        meanwhile();
        self.words[VALUE].store(value + 1, Release);
        self.words[FIRST_DONE + slot].store(done + 1, Release);
        self.words[INTENT_SLOT].store(0, Release);
    }

    /// Completes the increment of a dead owner.
    pub(crate) fn repair(self) {
        let slot = self.words[INTENT_SLOT].load(Acquire) as usize;
        if slot == 0 {
            return;
        }
        self.words[VALUE].store(self.words[INTENT_VALUE].load(Acquire), Release);
        self.words[FIRST_DONE + slot - 1].store(self.words[INTENT_DONE].load(Acquire), Release);
        self.words[INTENT_SLOT].store(0, Release);
    }
}

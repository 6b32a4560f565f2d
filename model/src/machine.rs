//! The simulated machine of a scenario: the initial memory, and the names and meanings of its words.

use crate::bounds::{LOCKS, name};
use crate::oracle::Oracle;
use crate::scenario::Scenario;

/// The machine of a scenario. It does not change.
pub(crate) struct Machine {
    pub(crate) scenario: Scenario,
    /// The address of the first word.
    pub(crate) base: usize,
    /// The words, of four bytes each. One of eight bytes is followed by one that is not used.
    pub(crate) words: Vec<Word>,
    /// What the words are at the start.
    pub(crate) initial: Vec<u64>,
    /// The fingerprint of that.
    pub(crate) fingerprint: u128,
    /// What the oracle knows at the start.
    pub(crate) oracle: Oracle,
    /// For each thread, the address of its list that the kernel knows.
    pub(crate) heads: Vec<usize>,
    /// For each thread, the words that say which node it is about to link or unlink: the one that the kernel reads, and that of its other
    /// list.
    pub(crate) pending: Vec<[usize; 2]>,
    /// The words that threads claim to recover a lock.
    pub(crate) claims: [usize; LOCKS],
    /// From the address of a node to that of its lock word.
    pub(crate) word_offset: isize,
    pub(crate) owners: Owners,
}

/// A word of the simulated memory.
pub(crate) struct Word {
    pub(crate) name: String,
    pub(crate) meaning: Meaning,
    /// Only the owner of a lock, or one thread, accesses it.
    pub(crate) private: bool,
}

/// What the value of a word means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    LockWord,
    Owner,
    /// A number, or the address of a word.
    Number,
}

/// How threads are written down as owners.
pub(crate) struct Owners {
    /// The owner word of each thread.
    pub(crate) words: Vec<u64>,
    /// The number of each thread in lock words, where that is no thread id.
    pub(crate) identities: Vec<u32>,
    /// The smallest of such numbers.
    pub(crate) first_identity: u32,
    /// The owner word after an inconsistent release.
    pub(crate) inconsistent: u64,
    /// Bits of an owner word that do not count.
    pub(crate) note: u64,
}

impl Machine {
    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * 4
    }

    pub(crate) fn is_private(&self, at: usize) -> bool {
        self.words[at].private
    }

    /// The lock word of a node.
    pub(crate) fn word_of(&self, node: usize) -> usize {
        (node.wrapping_add_signed(self.word_offset) - self.base) / 4
    }

    /// The name of a word.
    pub(crate) fn name_of(&self, at: usize) -> &str {
        &self.words[at].name
    }

    /// A value of a word, for people to read.
    pub(crate) fn show(&self, at: usize, value: u64) -> String {
        match self.words[at].meaning {
            Meaning::LockWord => self.show_lock_word(value as u32),
            Meaning::Owner => self.owners.show(value),
            Meaning::Number if (self.base..self.base + self.bytes()).contains(&(value as usize)) => {
                format!("&{}", self.name_of((value as usize - self.base) / 4))
            }
            Meaning::Number if value > 0xffff => format!("{value:#x}"),
            Meaning::Number => value.to_string(),
        }
    }

    fn show_lock_word(&self, value: u32) -> String {
        let number = value & libc::FUTEX_TID_MASK;
        let is_of = |thread: &usize| [self.scenario.tid(*thread), self.owners.identities[*thread]].contains(&number);
        let owners = self.scenario.all_threads().filter(is_of).map(name);
        let mut parts = Vec::from_iter((number != 0).then(|| owners.collect::<Vec<_>>().join("/")));
        if number >= self.owners.first_identity {
            parts[0].push_str(" by identity");
        }
        parts.extend((value & libc::FUTEX_WAITERS != 0).then(|| "WAITERS".to_owned()));
        parts.extend((value & libc::FUTEX_OWNER_DIED != 0).then(|| "DIED".to_owned()));
        if parts.is_empty() { "0".to_owned() } else { parts.join("|") }
    }
}

impl Owners {
    fn show(&self, word: u64) -> String {
        match self.words.iter().position(|owner| *owner == word & !self.note) {
            _ if word == 0 => "none".to_owned(),
            _ if word == self.inconsistent => "inconsistent".to_owned(),
            Some(thread) => name(thread),
            None => format!("{word:#x}"),
        }
    }
}

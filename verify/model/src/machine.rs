//! The simulated machine of a scenario: the initial memory, and the names and meanings of its words.

use crate::bounds::{LOCKS, name};
use crate::oracle::Oracle;
use crate::scenario::Scenario;

/// The constant part of the simulated machine.
pub(crate) struct Machine {
    pub(crate) scenario: Scenario,
    /// The address of the first word.
    pub(crate) base: usize,
    /// The words, of four bytes each. A word of eight bytes takes two, of which the second is unused.
    pub(crate) words: Vec<Word>,
    /// The initial values of the words.
    pub(crate) initial: Vec<u64>,
    /// The fingerprint of the initial values.
    pub(crate) fingerprint: u128,
    /// The initial oracle.
    pub(crate) oracle: Oracle,
    /// The address of the robust list of each thread.
    pub(crate) heads: Vec<usize>,
    /// The words `list_op_pending` of each thread: that of the robust list, which the kernel reads, and that of the identity list.
    pub(crate) pending: Vec<[usize; 2]>,
    /// The words that threads claim to recover a lock.
    pub(crate) claims: [usize; LOCKS],
    /// The offset in bytes from a list entry to its lock word.
    pub(crate) word_offset: isize,
    pub(crate) owners: Owners,
}

/// A word of the simulated memory.
pub(crate) struct Word {
    pub(crate) name: String,
    pub(crate) meaning: Meaning,
    /// Whether only the owner of a lock, or only one thread, accesses it.
    pub(crate) private: bool,
}

/// The meaning of a word's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    LockWord,
    Owner,
    /// A number, or the address of a word.
    Number,
}

/// The representations of threads as owners.
pub(crate) struct Owners {
    /// The owner word of each thread.
    pub(crate) words: Vec<u64>,
    /// The identity number of each thread.
    pub(crate) identities: Vec<u32>,
    /// The smallest identity number.
    pub(crate) first_identity: u32,
    /// The owner word after an inconsistent release.
    pub(crate) inconsistent: u64,
    /// The bits of an owner word that do not identify the owner.
    pub(crate) note: u64,
}

impl Machine {
    pub(crate) fn bytes(&self) -> usize {
        self.words.len() * 4
    }

    pub(crate) fn is_private(&self, at: usize) -> bool {
        self.words[at].private
    }

    /// Returns the index of the lock word of a list entry.
    pub(crate) fn word_of(&self, node: usize) -> usize {
        (node.wrapping_add_signed(self.word_offset) - self.base) / 4
    }

    /// Returns the name of a word.
    pub(crate) fn name_of(&self, at: usize) -> &str {
        &self.words[at].name
    }

    /// Formats a value of a word.
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

//! A scenario that is ready to run: the simulated memory with its types and its initial values.

use std::fmt;
use std::mem::offset_of;
use std::ptr;

use crate::bounds::{FIRST, IDS, LEAVES, LOCKS, SUMMARIES, THREADS, name};
use crate::env::AtomicU64;
use crate::hash;
use crate::lock_line::LockLine;
use crate::machine::{Machine, Meaning, Owners, Word};
use crate::oracle::Oracle;
use crate::owner::Owner;
use crate::scenario::Scenario;
use crate::state;
use crate::sys::{Head, Lists, OFFSET};
use crate::table::Table;
use crate::table::layout::RECORD_WORDS;
use crate::table::slot::Slot;

const WORDS: usize = LEAVES + SUMMARIES + IDS * RECORD_WORDS;

/// The words of a lock: the name of each, its offset, and whether only the owner accesses it.
const LINE_WORDS: [(&str, usize, bool); 9] = [
    ("word", offset_of!(LockLine, word), false),
    ("waiters", offset_of!(LockLine, waiters), false),
    ("token", offset_of!(LockLine, token), true),
    ("owner", offset_of!(LockLine, owner), false),
    ("prev", offset_of!(LockLine, prev), true),
    ("next", offset_of!(LockLine, next), true),
    ("spare[0]", offset_of!(LockLine, spare), false),
    ("spare[1]", offset_of!(LockLine, spare) + 8, false),
    ("spare[2]", offset_of!(LockLine, spare) + 16, false),
];

/// The simulated memory. It provides only the addresses of the words; their values are in the state.
#[repr(C)]
struct Memory {
    locks: [LockLine; LOCKS],
    /// For each lock, the record of the death that is reported to the next owner.
    deaths: [AtomicU64; LOCKS],
    lists: Lists,
    words: [AtomicU64; WORDS],
}

/// A scenario that is ready to run.
pub(crate) struct Setup {
    pub(crate) machine: &'static Machine,
    pub(crate) table: &'static Table,
    memory: &'static Memory,
}

impl Setup {
    /// Creates a setup that is never freed, because abandoned threads refer to it.
    pub(crate) fn new(scenario: Scenario) -> &'static Self {
        let memory: &'static Memory = Box::leak(Box::new(Memory {
            locks: std::array::from_fn(|_| LockLine::default()),
            deaths: std::array::from_fn(|_| AtomicU64::default()),
            lists: Lists::new(),
            words: std::array::from_fn(|_| AtomicU64::default()),
        }));
        let table = Box::leak(Box::new(Table::new(&memory.words, (FIRST + IDS) as u64, &scenario)));
        let machine = Box::leak(Box::new(memory.describe(scenario, table)));
        Box::leak(Box::new(Self { machine, table, memory }))
    }

    /// Starts a simulation in the initial state.
    pub(crate) fn begin(&self, traced: bool) {
        self.memory.lists.enter();
        state::begin(self.machine, traced);
    }

    /// Returns a lock.
    pub(crate) fn slot(&self, lock: usize) -> Slot {
        Slot::new(self.table, &self.memory.locks[lock], &self.memory.deaths[lock])
    }

    pub(crate) fn scenario(&self) -> &Scenario {
        &self.machine.scenario
    }
}

impl Memory {
    /// Returns the index of a word.
    fn at<T>(&self, word: &T) -> usize {
        (ptr::from_ref(word).addr() - ptr::from_ref(self).addr()) / 4
    }

    fn describe(&self, scenario: Scenario, table: &Table) -> Machine {
        let all = 0..=THREADS;
        let pending = |thread: usize| [&self.lists.known, &self.lists.identities].map(|heads| self.at(&heads[thread].pending));
        let mut machine = Machine {
            base: ptr::from_ref(self).addr(),
            words: self.names().into_iter().map(|(name, meaning)| Word { name, meaning, private: false }).collect(),
            initial: vec![0; size_of::<Self>() / 4],
            fingerprint: 0,
            oracle: Oracle::new(&scenario),
            heads: self.lists.known.iter().map(|head| ptr::from_ref(head).addr()).collect(),
            pending: all.map(pending).collect(),
            claims: std::array::from_fn(|lock| self.at(&self.locks[lock].spare[0])),
            word_offset: OFFSET,
            owners: owners(table),
            scenario,
        };
        self.prepare(&mut machine);
        self.prepare_death(&mut machine, table);
        machine.fingerprint = machine.initial.iter().enumerate().fold(0, |all, (at, value)| all ^ hash::word(at, *value));
        machine
    }

    fn prepare(&self, machine: &mut Machine) {
        let make_private = |words: &mut [Word]| words.iter_mut().for_each(|word| word.private = true);
        for head in self.lists.known.iter().chain(&self.lists.identities) {
            let at = self.at(head);
            machine.initial[at] = ptr::from_ref(head).addr() as u64;
            make_private(&mut machine.words[at..at + size_of::<Head>() / 4]);
        }
        for lock in &self.locks {
            for (name, offset, private) in LINE_WORDS {
                let at = self.at(lock) + offset / 4;
                machine.words[at].private = private;
                if name == "token" {
                    machine.initial[at] = machine.scenario.token;
                }
            }
        }
        // The first leaf is full, and the second has only its last two ids free, so that a search uses the hints.
        let words = self.at(&self.words);
        (machine.initial[words], machine.initial[words + 2]) = (u64::MAX, u64::MAX >> 2);
        machine.initial[words + 2 * LEAVES] = 1;
        // If no thread reads the records, only the claimant of a record accesses the rest of it.
        for id in (0..IDS).filter(|_| !machine.scenario.reads()) {
            let record = words + 2 * (LEAVES + SUMMARIES + id * RECORD_WORDS);
            make_private(&mut machine.words[record + 2..record + 2 * RECORD_WORDS]);
        }
    }

    /// Sets the initial state of lock 0 that an earlier owner left.
    fn prepare_death(&self, machine: &mut Machine, table: &Table) {
        let Some([word, owner, death]) = table.initial(machine.scenario.initial) else { return };
        let line = &self.locks[0];
        machine.initial[self.at(&line.word)] = word;
        machine.initial[self.at(&line.owner)] = owner;
        machine.initial[self.at(&self.deaths[0])] = death;
    }

    /// Returns the name of each word and the meaning of its values.
    fn names(&self) -> Vec<(String, Meaning)> {
        let mut names = vec![(String::new(), Meaning::Number); size_of::<Self>() / 4];
        for (number, lock) in self.locks.iter().enumerate() {
            let of = |name: &str| if number == 0 { name.to_owned() } else { format!("{name} of lock {number}") };
            for (name, offset, _) in LINE_WORDS {
                let meaning = match name {
                    "word" => Meaning::LockWord,
                    "owner" | "spare[0]" | "spare[1]" | "spare[2]" => Meaning::Owner,
                    _ => Meaning::Number,
                };
                names[self.at(lock) + offset / 4] = (of(name), meaning);
            }
            names[self.at(&self.deaths[number])] = (of("death"), Meaning::Owner);
        }
        for (heads, which) in [(&self.lists.known, ""), (&self.lists.identities, "identity list's ")] {
            for (thread, head) in heads.iter().enumerate() {
                let fields =
                    [(self.at(&head.first), "first"), (self.at(&head.offset), "offset"), (self.at(&head.pending), "pending")];
                for (at, field) in fields {
                    names[at] = (format!("{}'s {which}{field}", name(thread)), Meaning::Number);
                }
            }
        }
        for (number, word) in self.words.iter().enumerate() {
            names[self.at(word)] = match number.checked_sub(LEAVES + SUMMARIES) {
                None if number < LEAVES => (format!("leaf {number}"), Meaning::Number),
                None => (format!("summary {}", number - LEAVES), Meaning::Number),
                Some(word) => {
                    let fields = ["claim", "generation", "since", "death", "birth", "command", "label[0]", "label[1]"];
                    let field = fields[word % RECORD_WORDS];
                    let is_owner = field == "claim" || field == "death";
                    let meaning = if is_owner { Meaning::Owner } else { Meaning::Number };
                    (format!("{field} of id {}", FIRST + word / RECORD_WORDS), meaning)
                }
            };
        }
        names
    }
}

/// Returns the representations of the threads as owners.
fn owners(table: &Table) -> Owners {
    let owners = table.owners();
    Owners {
        words: owners.iter().map(|owner| owner.word()).collect(),
        identities: owners.iter().map(|owner| owner.identity_number()).collect(),
        first_identity: Owner::FIRST_IDENTITY,
        inconsistent: Owner::INCONSISTENT.word(),
        note: !Owner::from_word(u64::MAX).with_note(0).word(),
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("scenario", self.scenario()).finish_non_exhaustive()
    }
}

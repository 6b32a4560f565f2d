//! Where a scenario plays: memory, threads and what holds at the start.

use std::fmt;
use std::mem::offset_of;

use crate::env::AtomicU64;
use crate::ghost::{Ghost, IDS, LOCKS};
use crate::hash;
use crate::lock_line::Hot;
use crate::owner::Owner;
use crate::scenario::Scenario;
use crate::sys::Head;
use crate::table::Table;
use crate::table::layout::RECORD_WORDS;
use crate::table::slot::Slot;

/// At most so many threads.
pub(crate) const THREADS: usize = 3;
/// The number of the observer, which comes when all is quiet.
pub(crate) const OBSERVER: usize = THREADS;
/// The number of a thread that died before a scenario begins.
pub(crate) const EARLIER: usize = THREADS + 1;

pub(crate) const LEAVES: usize = 3;
pub(crate) const SUMMARIES: usize = 1;
/// The first id that is free at the start: the last but one of the second leaf.
pub(crate) const FIRST: usize = 126;
const WORDS: usize = LEAVES + SUMMARIES + IDS * RECORD_WORDS;

/// The words of a line: what each is called, and whether only the owner ever looks at it.
const LINE_WORDS: [(&str, usize, bool); 9] = [
    ("word", offset_of!(Hot, word), false),
    ("waiters", offset_of!(Hot, waiters), false),
    ("token", offset_of!(Hot, token), true),
    ("owner", offset_of!(Hot, owner), false),
    ("prev", offset_of!(Hot, prev), true),
    ("next", offset_of!(Hot, next), true),
    ("spare[0]", offset_of!(Hot, spare), false),
    ("spare[1]", offset_of!(Hot, spare) + 8, false),
    ("spare[2]", offset_of!(Hot, spare) + 16, false),
];

/// All simulated memory. Its words say nothing: they are names.
#[repr(C)]
pub(crate) struct Memory {
    pub(crate) locks: [Hot; LOCKS],
    /// The words in which owners write down what the next one is told.
    pub(crate) deaths: [AtomicU64; LOCKS],
    /// The lists that the kernel knows. The last is the observer's, here and below.
    heads: [Head; THREADS + 1],
    /// The lists that it does not know.
    identity_heads: [Head; THREADS + 1],
    pub(crate) words: [AtomicU64; WORDS],
}

/// A scenario, made ready.
pub(crate) struct Scene {
    pub(crate) scenario: Scenario,
    memory: &'static Memory,
    pub(crate) table: &'static Table,
    pub(crate) initial: Vec<u64>,
    pub(crate) fingerprint: u128,
    private: Vec<bool>,
    pub(crate) ghost: Ghost,
}

impl Scene {
    /// Kept for ever, since threads that are abandoned in the middle refer to it.
    pub(crate) fn new(scenario: Scenario) -> &'static Self {
        let memory: &'static Memory = Box::leak(Box::new(Memory {
            locks: std::array::from_fn(|_| Hot::default()),
            deaths: std::array::from_fn(|_| AtomicU64::default()),
            heads: std::array::from_fn(|_| Head::new()),
            identity_heads: std::array::from_fn(|_| Head::new()),
            words: std::array::from_fn(|_| AtomicU64::default()),
        }));
        let table = Box::leak(Box::new(Table::new(memory, (FIRST + IDS) as u64, &scenario)));
        let size = size_of::<Memory>() / 4;
        let ghost = Ghost::new(&scenario);
        let mut scene =
            Self { scenario, memory, table, initial: vec![0; size], fingerprint: 0, private: vec![false; size], ghost };
        scene.prepare();
        Box::leak(Box::new(scene))
    }

    fn prepare(&mut self) {
        for head in self.memory.heads.iter().chain(&self.memory.identity_heads) {
            let address = std::ptr::from_ref(head).addr();
            let at = self.at(address);
            self.initial[at] = address as u64;
            self.private[at..at + size_of::<Head>() / 4].fill(true);
        }
        for lock in 0..LOCKS {
            let start = self.at(std::ptr::from_ref(&self.memory.locks[lock]).addr());
            for (name, offset, private) in LINE_WORDS {
                self.private[start + offset / 4] = private;
                if name == "token" {
                    self.initial[start + offset / 4] = self.scenario.token;
                }
            }
        }
        self.prepare_death();
        // The first leaf is full, and the second but for its last two ids, so that it takes hints to come by.
        let words = self.at(self.memory.words.as_ptr().addr());
        (self.initial[words], self.initial[words + 2]) = (u64::MAX, u64::MAX >> 2);
        self.initial[words + 2 * LEAVES] = 1;
        // Where nobody reads the records, only who has the claim of one looks at the rest of it.
        for id in (0..IDS).filter(|_| !self.scenario.reads()) {
            let record = words + 2 * (LEAVES + SUMMARIES + id * RECORD_WORDS);
            self.private[record + 2..record + 2 * RECORD_WORDS].fill(true);
        }
        self.fingerprint = self.initial.iter().enumerate().fold(0, |all, (at, value)| all ^ hash::word(at, *value));
    }

    /// What an earlier owner left of the first lock.
    fn prepare_death(&mut self) {
        let Some([word, owner, death]) = self.table.left(self.scenario.left) else { return };
        let line = self.at(std::ptr::from_ref(&self.memory.locks[0]).addr());
        for (name, offset, _) in LINE_WORDS {
            match name {
                "word" => self.initial[line + offset / 4] = word,
                "owner" => self.initial[line + offset / 4] = owner,
                _ => {}
            }
        }
        let place = self.at(self.memory.deaths.as_ptr().addr());
        self.initial[place] = death;
    }

    /// One of the locks.
    pub(crate) fn slot(&self, lock: usize) -> Slot {
        Slot::new(self.table, self.memory, lock)
    }

    pub(crate) fn threads(&self) -> usize {
        self.scenario.threads.len()
    }

    /// Whether the kernel serves the lists of the dead.
    pub(crate) fn served(&self) -> bool {
        self.scenario.served
    }

    pub(crate) fn tid(&self, thread: usize) -> u32 {
        self.scenario.tid(thread)
    }

    /// Whether a thread's process takes part in barriers.
    pub(crate) fn has_barriers(&self, thread: usize) -> bool {
        self.scenario.without_barriers != Some(thread)
    }

    pub(crate) fn base(&self) -> usize {
        std::ptr::from_ref(self.memory).addr()
    }

    pub(crate) fn bytes(&self) -> usize {
        let _ = self;
        size_of::<Memory>()
    }

    fn at(&self, address: usize) -> usize {
        (address - self.base()) / 4
    }

    pub(crate) fn is_private(&self, at: usize) -> bool {
        self.private[at]
    }

    pub(crate) fn head_of(&self, thread: usize) -> &Head {
        &self.memory.heads[thread]
    }

    /// The thread's list that the kernel does not know.
    pub(crate) fn identity_head_of(&self, thread: usize) -> &Head {
        &self.memory.identity_heads[thread]
    }

    /// The address of a thread's list.
    pub(crate) fn head(&self, thread: usize) -> usize {
        std::ptr::from_ref(self.head_of(thread)).addr()
    }

    /// The words that say which node the thread is about to link or unlink: the one that the kernel reads, and that of the other list.
    pub(crate) fn pending(&self, thread: usize) -> [usize; 2] {
        [self.head_of(thread), self.identity_head_of(thread)].map(|head| self.at(std::ptr::from_ref(&head.pending).addr()))
    }

    /// The words that threads claim to recover a lock.
    pub(crate) fn claims(&self) -> [usize; LOCKS] {
        std::array::from_fn(|lock| self.at(std::ptr::from_ref(&self.memory.locks[lock].spare[0]).addr()))
    }

    /// The futex word of a node.
    pub(crate) fn word_of(&self, node: usize) -> usize {
        self.at(node - offset_of!(Hot, next) + offset_of!(Hot, word))
    }

    /// What a word is called.
    pub(crate) fn name_of(&self, at: usize) -> String {
        let address = self.base() + at * 4;
        for (number, lock) in self.memory.locks.iter().enumerate() {
            let offset = address.wrapping_sub(std::ptr::from_ref(lock).addr());
            if let Some((name, ..)) = LINE_WORDS.iter().find(|word| word.1 == offset) {
                return if number == 0 { (*name).to_owned() } else { format!("{name} of lock {number}") };
            }
        }
        if let Some(lock) = self.memory.deaths.iter().position(|word| std::ptr::from_ref(word).addr() == address) {
            return if lock == 0 { "death".to_owned() } else { format!("death of lock {lock}") };
        }
        for (heads, which) in [(&self.memory.heads, ""), (&self.memory.identity_heads, "identity list's ")] {
            let fields = ["first", "offset", "pending"];
            let offset = address.wrapping_sub(heads.as_ptr().addr());
            if offset < size_of_val(heads) {
                let (thread, field) = (offset / size_of::<Head>(), fields[offset % size_of::<Head>() / 8]);
                return format!("{}'s {which}{field}", name(thread));
            }
        }
        let number = (address - self.memory.words.as_ptr().addr()) / 8;
        match number.checked_sub(LEAVES + SUMMARIES) {
            None if number < LEAVES => format!("leaf {number}"),
            None => format!("summary {}", number - LEAVES),
            Some(word) => {
                let id = FIRST + word / RECORD_WORDS;
                let fields = ["claim", "generation", "since", "death", "command", "label[0]", "label[1]"];
                format!("{} of id {id}", fields[word % RECORD_WORDS])
            }
        }
    }

    /// What a value means there.
    pub(crate) fn show(&self, at: usize, value: u64) -> String {
        let called = self.name_of(at);
        if called.starts_with("word") {
            return self.show_word(value);
        }
        if ["owner", "spare", "claim", "death"].iter().any(|kind| called.starts_with(kind)) {
            return self.table.show(Owner::from_word(value));
        }
        if (self.base()..self.base() + self.bytes()).contains(&(value as usize)) {
            return format!("&{}", self.name_of(self.at(value as usize)));
        }
        if value > 0xffff { format!("{value:#x}") } else { value.to_string() }
    }

    fn show_word(&self, value: u64) -> String {
        let value = value as u32;
        let number = value & libc::FUTEX_TID_MASK;
        let all = (0..self.threads()).chain([OBSERVER, EARLIER]);
        let owners = all.filter(|thread| self.numbers(*thread).contains(&number)).map(name);
        let mut parts = Vec::from_iter((number != 0).then(|| owners.collect::<Vec<_>>().join("/")));
        if number >= Owner::FIRST_IDENTITY {
            parts[0].push_str(" by identity");
        }
        parts.extend((value & libc::FUTEX_WAITERS != 0).then(|| "WAITERS".to_owned()));
        parts.extend((value & libc::FUTEX_OWNER_DIED != 0).then(|| "DIED".to_owned()));
        if parts.is_empty() { "0".to_owned() } else { parts.join("|") }
    }

    /// The numbers of a thread in lock words.
    fn numbers(&self, thread: usize) -> [u32; 2] {
        [self.tid(thread), self.table.owner(thread).identity_number()]
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("scenario", &self.scenario).finish_non_exhaustive()
    }
}

/// What a thread is called.
pub(crate) fn name(thread: usize) -> String {
    ["A", "B", "C", "the observer", "an earlier owner"][thread].to_owned()
}

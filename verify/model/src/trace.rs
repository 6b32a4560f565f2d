//! The history of a run: the operations of each thread on each word, for people to read.

use crate::bounds::{FIRST, name};
use crate::machine::Machine;
use crate::note::{Leaving, Note, Phase};
use crate::op::{Change, Op};

/// The history of the current run.
///
/// Private operations of a thread are added at its next step, because they are undone if the thread dies before them.
pub(crate) struct Trace {
    machine: &'static Machine,
    pub(crate) lines: Vec<String>,
    /// For each thread, the private operations since its last step, and whether each can be undone.
    private: Vec<Vec<(String, bool)>>,
}

impl Trace {
    pub(crate) fn new(machine: &'static Machine) -> Self {
        Self { machine, lines: Vec::new(), private: vec![Vec::new(); machine.scenario.threads()] }
    }

    pub(crate) fn say(&mut self, thread: usize, what: impl AsRef<str>) {
        self.lines.push(format!("{:>4}  {}  {}", self.lines.len() + 1, name(thread), what.as_ref()));
    }

    pub(crate) fn privately(&mut self, thread: usize, op: Op, value: u64) {
        let changes = matches!(op, Op::Store(..) | Op::Stage(_) | Op::Note(Note::Enter { .. }));
        let text = self.op(op, Some(value));
        self.private[thread].push((text, changes));
    }

    /// Adds the private operations of a thread to the history.
    pub(crate) fn settle(&mut self, thread: usize) {
        for (text, _) in std::mem::take(&mut self.private[thread]) {
            if !text.is_empty() {
                self.say(thread, text);
            }
        }
    }

    /// Drops the private operations that the death of a thread undoes, and adds the others to the history.
    pub(crate) fn forget(&mut self, thread: usize, mut undone: usize) {
        while undone > 0 {
            let Some((_, changes)) = self.private[thread].pop() else { break };
            undone -= usize::from(changes);
        }
        self.settle(thread);
    }

    pub(crate) fn drained(&mut self, thread: usize, old: bool, at: usize, before: u64, now: u64) {
        if !old && let Some(first) = self.private[thread].iter().position(|done| done.0.contains("(buffered)")) {
            let rest = self.private[thread].split_off(first + 1);
            self.settle(thread);
            self.private[thread] = rest;
        }
        let (name, before, now) = (self.machine.name_of(at), self.machine.show(at, before), self.machine.show(at, now));
        self.say(thread, format!("    … its store to {name} is visible: {before} → {now}"));
    }

    pub(crate) fn kernel(&mut self, thread: usize, at: usize, before: u64, now: u64) {
        let (name, before, now) = (self.machine.name_of(at), self.machine.show(at, before), self.machine.show(at, now));
        self.say(thread, format!("the kernel changes {name}: {before} → {now}"));
    }

    /// Formats an operation, with its result if it was executed.
    pub(crate) fn op(&self, op: Op, value: Option<u64>) -> String {
        let word = |at| self.machine.name_of(at);
        let show = |at, value| self.machine.show(at, value);
        let gave = |at| value.map_or(String::new(), |value| format!(": {}", show(at, value)));
        match op {
            Op::Load(at) => format!("load {}{}", word(at), gave(at)),
            Op::Store(at, new) if self.machine.is_private(at) => format!("store {}: {}", word(at), show(at, new)),
            Op::Store(at, new) => format!("store {}: {} (buffered)", word(at), show(at, new)),
            Op::Change(at, change) => {
                let before = value.map_or("?".to_owned(), |before| show(at, before));
                match change {
                    Change::Set(new) => format!("swap {}: {before} → {}", word(at), show(at, new)),
                    Change::Or(bits) => format!("fetch_or {} {bits:#x}: {before}", word(at)),
                    Change::And(bits) => format!("fetch_and {} {bits:#x}: {before}", word(at)),
                    Change::Exchange(old, new) if value.is_none_or(|value| value == old) => {
                        format!("compare_exchange {}: {} → {}", word(at), show(at, old), show(at, new))
                    }
                    Change::Exchange(old, _) => {
                        format!("compare_exchange {} expects {}, finds {before}", word(at), show(at, old))
                    }
                }
            }
            Op::Fence => "fence".to_owned(),
            Op::Wait { at, value: expected, class, briefly } => {
                let end = match value {
                    Some(0) => ", returns immediately",
                    Some(_) => ", sleeps",
                    None => "",
                };
                let briefly = if briefly { " briefly" } else { "" };
                format!("futex wait{briefly} in class {class} while {} is {}{end}", word(at), show(at, expected))
            }
            Op::Wake { at, class: u32::MAX } => format!("futex wake one at {}", word(at)),
            Op::Wake { at, class } => format!("futex wake one of class {class} at {}", word(at)),
            Op::Barrier => "membarrier: all stores are visible".to_owned(),
            Op::Clock => match value {
                Some(0) => "clock: the deadline has not passed".to_owned(),
                _ => "clock: the deadline has passed".to_owned(),
            },
            Op::Gone { thread, whole } => {
                let proved = value.map_or("?", |value| if value == 0 { "no" } else { "yes" });
                let what = if whole { "the process of " } else { "" };
                format!("is the end of {what}{} proven: {proved}", name(thread))
            }
            Op::End => "the thread ends".to_owned(),
            Op::Note(note) => self.note(note),
            Op::Stage(stage) => {
                let lock = stage.locks.iter().position(|phase| matches!(phase, Phase::Acquiring));
                lock.map_or(String::new(), |lock| format!("-- acquire lock {lock}"))
            }
            Op::Act(_) | Op::Loop(_) => String::new(),
        }
    }

    fn note(&self, note: Note) -> String {
        match note {
            Note::Enter { lock, token, reported } => {
                let death = reported.map_or(String::new(), |death| {
                    let thread = death.thread.map_or_else(|| "an unknown thread".to_owned(), name);
                    format!(", with a report of the death of {thread}: {:?}", death.cause)
                });
                format!("-- acquired lock {lock}, token {token}{death}")
            }
            Note::Marked { lock } => format!("-- marked lock {lock} consistent"),
            Note::Leave { lock, leaving } => match leaving {
                Leaving::Released(condition) => format!("-- release lock {lock}: {condition:?}"),
                Leaving::Ended => format!("-- end with lock {lock}"),
            },
            Note::TimedOut { lock } => format!("-- timed out on lock {lock}"),
            Note::Allocated { id } => format!("-- allocated id {}", FIRST + id),
            Note::Freeing { id } => format!("-- free id {}", FIRST + id),
            Note::Freed { id } => format!("-- freed id {}", FIRST + id),
            Note::Claimed => "-- acquired the claim".to_owned(),
            Note::ReleasingClaim => "-- release the claim".to_owned(),
            Note::Wrong(what) => what.to_owned(),
        }
    }
}

//! The state of the simulated machine: the memory, and the store buffer and the next operation of each thread.

mod notes;

use std::cell::{Cell, RefCell};

use crate::bounds::{EARLIER, LOCKS, OBSERVER};
use crate::coroutine;
use crate::hash;
use crate::machine::Machine;
use crate::note::{Note, Phase, Stage};
use crate::op::{Change, Op};
use crate::oracle::Oracle;
use crate::thread::{Private, Status, Thread};
use crate::trace::Trace;

pub(crate) struct State {
    pub(crate) machine: &'static Machine,
    values: Vec<u64>,
    fingerprint: u128,
    pub(crate) threads: Vec<Thread>,
    /// The running thread, or the observer. The observer's operations are not steps.
    pub(crate) current: usize,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Option<Trace>,
}

thread_local! {
    static BASE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Returns the index of the word at this address.
pub(crate) fn at(address: usize) -> usize {
    let (base, length) = BASE.get();
    let offset = address.wrapping_sub(base);
    if offset >= length {
        coroutine::fail(format!("{address:#x} is not in the simulated memory"));
    }
    offset / 4
}

/// Starts from the initial state of a machine.
pub(crate) fn begin(machine: &'static Machine, traced: bool) {
    BASE.set((machine.base, machine.bytes()));
    STATE.with_borrow_mut(|state| {
        let state = state.get_or_insert_with(|| State::new(machine));
        state.reset(machine);
        state.trace = traced.then(|| Trace::new(machine));
    });
}

/// Accesses the state.
pub(crate) fn with<T>(act: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(|state| act(state.as_mut().expect("a simulation has begun")))
}

impl State {
    fn new(machine: &'static Machine) -> Self {
        Self {
            machine,
            values: Vec::new(),
            fingerprint: 0,
            threads: Vec::new(),
            current: 0,
            oracle: Oracle::default(),
            trace: None,
        }
    }

    fn reset(&mut self, machine: &'static Machine) {
        self.machine = machine;
        self.values.clone_from(&machine.initial);
        self.fingerprint = machine.fingerprint;
        self.oracle = machine.oracle.clone();
        self.threads.truncate(machine.scenario.threads());
        for thread in &mut self.threads {
            thread.buffer.clear();
            thread.private.clear();
        }
        while self.threads.len() < machine.scenario.threads() {
            self.threads.push(Thread {
                status: Status::Done,
                buffer: Vec::new(),
                private: Vec::new(),
                seen: 0,
                stage: Stage::default(),
                act: 0,
                leaving: [None; LOCKS],
                armed: false,
                woken: false,
                has_overslept: false,
            });
        }
        for (number, thread) in self.threads.iter_mut().enumerate() {
            thread.status = Status::Done;
            thread.seen = number as u128 + 1;
            (thread.act, thread.leaving) = (0, [None; LOCKS]);
            (thread.stage, thread.armed, thread.woken) = (Stage::default(), false, false);
        }
    }

    pub(crate) fn value(&self, at: usize) -> u64 {
        self.values[at]
    }

    pub(crate) fn set_value(&mut self, at: usize, value: u64) {
        self.fingerprint ^= hash::word(at, self.values[at]) ^ hash::word(at, value);
        self.values[at] = value;
    }

    /// Returns the value that a thread reads: the latest in its store buffer, or that in memory.
    pub(crate) fn view(&self, thread: usize, at: usize) -> u64 {
        self.buffered(thread, at).unwrap_or(self.values[at])
    }

    fn buffered(&self, thread: usize, at: usize) -> Option<u64> {
        self.threads[thread].buffer.iter().rev().find(|store| store.0 == at).map(|store| store.1)
    }

    /// Executes an operation immediately if no other thread can observe it, or if it is the observer's.
    pub(crate) fn execute_privately(&mut self, op: Op) -> Option<u64> {
        let me = self.current;
        if me == OBSERVER {
            return Some(self.observe(op));
        }
        let value = match op {
            Op::Load(at) if self.machine.is_private(at) => self.values[at],
            Op::Load(at) => self.buffered(me, at)?,
            Op::Store(at, value) if self.machine.is_private(at) => {
                let before = self.values[at];
                self.set_value(at, value);
                self.threads[me].private.push(Private::Wrote { at, before });
                0
            }
            Op::Store(at, value) => {
                self.threads[me].buffer.push((at, value));
                self.threads[me].private.push(Private::Buffered);
                0
            }
            Op::Stage(stage) => {
                let before = std::mem::replace(&mut self.threads[me].stage, stage);
                self.threads[me].private.push(Private::Stage(before));
                0
            }
            Op::Act(number) => {
                self.threads[me].act = number;
                self.threads[me].seen = hash::mix(me as u128 + 1, number as u64);
                0
            }
            Op::Loop(rest) => {
                let act = self.threads[me].act as u64;
                self.threads[me].seen = hash::mix(hash::mix(hash::mix(me as u128 + 1, act), 1), rest);
                0
            }
            Op::Note(Note::Enter { lock, token, reported }) => {
                let before = self.oracle.enter(me, lock, token, reported);
                let thread = &mut self.threads[me];
                (thread.stage.locks[lock], thread.stage.reported[lock]) = (Phase::Inside, reported.is_some());
                thread.armed = false;
                thread.private.push(Private::Entered { before, woken: std::mem::take(&mut thread.woken) });
                0
            }
            Op::Note(Note::Leave { lock, leaving }) => {
                self.threads[me].leaving[lock] = Some(leaving);
                self.threads[me].private.push(Private::Leaving(lock));
                0
            }
            Op::Clock if !self.threads[me].armed => 1,
            _ => return None,
        };
        if let Some(trace) = &mut self.trace {
            trace.privately(me, op, value);
        }
        Some(value)
    }

    /// Executes an operation of the observer.
    fn observe(&mut self, op: Op) -> u64 {
        match op {
            Op::Load(at) => self.values[at],
            Op::Store(at, value) => {
                self.set_value(at, value);
                0
            }
            Op::Change(at, change) => self.change(at, change),
            Op::Gone { thread, whole } => self.is_proved_gone(OBSERVER, thread, whole).into(),
            Op::Wait { .. } => {
                self.oracle.wrong("the observer would have to sleep in the final state".to_owned());
                0
            }
            Op::Clock => 1,
            _ => 0,
        }
    }

    /// Returns whether `viewer` can prove that a thread has ended, or its whole process if `whole`.
    ///
    /// The end of a thread in a living process can be proven only if both threads are at home.
    pub(crate) fn is_proved_gone(&self, viewer: usize, thread: usize, whole: bool) -> bool {
        match thread {
            EARLIER => true,
            OBSERVER => false,
            _ if self.is_process_gone(thread) => true,
            _ => {
                let at_home = |thread| self.machine.scenario.is_at_home(thread);
                let missing = matches!(self.threads[thread].status, Status::Gone | Status::Ended);
                !whole && missing && at_home(viewer) && at_home(thread)
            }
        }
    }

    fn is_process_gone(&self, thread: usize) -> bool {
        let mut states = self.siblings(thread).map(|thread| &self.threads[thread].status);
        states.clone().any(|state| matches!(state, Status::Gone))
            && states.all(|state| matches!(state, Status::Gone | Status::Ended | Status::Done))
    }

    /// Returns whether the thread's process was killed.
    pub(crate) fn is_killed(&self, thread: usize) -> bool {
        let was_killed = |state: &Status| match state {
            Status::Exiting(exit) => exit.killed,
            state => matches!(state, Status::Gone),
        };
        self.siblings(thread).any(|thread| was_killed(&self.threads[thread].status))
    }

    /// Returns the threads of the thread's process.
    fn siblings(&self, thread: usize) -> impl Iterator<Item = usize> + Clone {
        let scenario = &self.machine.scenario;
        (0..self.threads.len()).filter(move |other| scenario.process(*other) == scenario.process(thread))
    }

    pub(crate) fn change(&mut self, at: usize, change: Change) -> u64 {
        let before = self.values[at];
        self.set_value(at, change.apply(before));
        before
    }

    /// Makes all stores of a thread visible.
    pub(crate) fn flush(&mut self, thread: usize) {
        for (at, value) in std::mem::take(&mut self.threads[thread].buffer) {
            self.set_value(at, value);
        }
        // Private operations before the last store can no longer be undone.
        let private = &self.threads[thread].private;
        if let Some(last) = private.iter().rposition(|done| matches!(done, Private::Buffered)) {
            self.settle(thread, last + 1);
        }
    }

    /// Makes the stores of a thread visible at another thread's barrier.
    ///
    /// This excludes stores since the thread's last step, which it may not have executed yet at the barrier. If it has, they may become
    /// visible one by one in separate steps before the barrier.
    pub(crate) fn flush_for_another(&mut self, thread: usize) {
        let fresh = self.threads[thread].private.iter().filter(|done| matches!(done, Private::Buffered)).count();
        let old = self.threads[thread].buffer.len() - fresh;
        let visible: Vec<(usize, u64)> = self.threads[thread].buffer.drain(..old).collect();
        for (at, value) in visible {
            self.set_value(at, value);
        }
    }

    /// Commits the first `things` private operations of a thread, so that they cannot be undone.
    pub(crate) fn settle(&mut self, thread: usize, things: usize) {
        let done = self.threads[thread].private.drain(..things);
        let left = done.filter_map(|done| if let Private::Leaving(lock) = done { Some(lock) } else { None });
        for lock in left.collect::<Vec<_>>() {
            self.leave(thread, lock);
        }
    }

    /// Records that a thread has left the critical section of a lock that it is about to release.
    fn leave(&mut self, number: usize, lock: usize) {
        let thread = &mut self.threads[number];
        let leaving = thread.leaving[lock].take().expect("the thread has announced the release");
        thread.stage.locks[lock] = Phase::Releasing;
        self.oracle.leave(number, lock, leaving);
    }

    /// Makes the oldest store of a thread visible.
    pub(crate) fn drain(&mut self, number: usize) {
        let thread = &mut self.threads[number];
        let fresh = thread.private.iter().filter(|done| matches!(done, Private::Buffered)).count();
        let old = thread.buffer.len() > fresh;
        let (at, value) = thread.buffer.remove(0);
        if !old {
            let first = thread
                .private
                .iter()
                .position(|done| matches!(done, Private::Buffered))
                .expect("a fresh store is in the private operations");
            self.settle(number, first + 1);
        }
        if let Some(trace) = &mut self.trace {
            trace.drained(number, old, at, self.values[at], value);
        }
        self.set_value(at, value);
    }

    /// Undoes the private operations of a thread except for the first `keep`.
    pub(crate) fn undo(&mut self, number: usize, keep: usize) {
        while self.threads[number].private.len() > keep {
            match self.threads[number].private.pop().expect("the loop condition ensures an element") {
                Private::Wrote { at, before } => self.set_value(at, before),
                Private::Buffered => {
                    self.threads[number].buffer.pop();
                }
                Private::Leaving(lock) => self.threads[number].leaving[lock] = None,
                Private::Stage(before) => self.threads[number].stage = before,
                Private::Entered { before, woken } => {
                    self.oracle.undo_enter(before);
                    let thread = &mut self.threads[number];
                    (thread.stage.locks[before.lock], thread.stage.reported[before.lock]) = (Phase::Acquiring, false);
                    thread.woken = woken;
                }
            }
        }
    }

    /// Returns the fingerprint of the state.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut all = hash::mix(self.fingerprint, 0);
        for thread in &self.threads {
            let (state, rest) = match &thread.status {
                Status::Ready(_) => (0, thread.seen),
                Status::Asleep { at, class, briefly } => (1, hash::mix(thread.seen, hash::of(&(at, class, briefly)) as u64)),
                Status::Done => (2, 0),
                Status::Exiting(exit) => (3, hash::of(exit)),
                Status::Gone => (4, 0),
                Status::Ended => (5, 0),
            };
            let rest = hash::of(&(
                rest,
                &thread.buffer,
                &thread.private,
                thread.stage,
                thread.leaving,
                thread.armed,
                thread.woken,
                thread.has_overslept,
            ));
            all = hash::mix(hash::mix(hash::mix(all, state), rest as u64), (rest >> 64) as u64);
        }
        let oracle = hash::of(&self.oracle);
        hash::mix(hash::mix(all, oracle as u64), (oracle >> 64) as u64)
    }
}

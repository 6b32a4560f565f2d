//! The possible steps of a state, and the simulated kernel: futexes, the exit of a thread, and time.

use std::collections::VecDeque;

use crate::bounds::{LOCKS, name};
use crate::exit::{Exit, ExitStep};
use crate::note::{Phase, Stage};
use crate::op::Op;
use crate::state::{self, State};
use crate::thread::{Private, Status, Thread};

const WAITERS: u64 = libc::FUTEX_WAITERS as u64;
const DIED: u64 = libc::FUTEX_OWNER_DIED as u64;
const TID: u64 = libc::FUTEX_TID_MASK as u64;
/// Every class of sleepers.
const ANY: u32 = u32::MAX;

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    /// The thread executes its next operation, with the outcome of this index.
    Step(usize, usize),
    /// The thread's oldest buffered store becomes visible.
    Drain(usize),
    /// The thread dies after this number of the private operations since its last step.
    Die(usize, usize),
    /// The kernel executes its next step for a dead thread, with the outcome of this index.
    Exit(usize, usize),
    /// The thread's sleep ends without a wake-up.
    EndSleep(usize),
}

/// The threads that a step resumes, each with the result of its operation.
pub(crate) type Resumed = [Option<(usize, u64)>; 2];

const NO_THREAD: Resumed = [None, None];

impl State {
    /// Returns every possible step. Reports an error if there is none while a thread sleeps.
    pub(crate) fn choices(&mut self) -> Vec<Choice> {
        let mut choices = Vec::new();
        let mut asleep = Vec::new();
        for (number, thread) in self.threads.iter().enumerate() {
            if !thread.buffer.is_empty() {
                choices.push(Choice::Drain(number));
            }
            match &thread.status {
                Status::Ready(op) => choices.extend((0..self.outcomes(number, *op)).map(|k| Choice::Step(number, k))),
                Status::Asleep { .. } if thread.armed => choices.push(Choice::EndSleep(number)),
                Status::Asleep { briefly, .. } => asleep.push((number, *briefly)),
                Status::Exiting(exit) => choices.extend((0..self.exit_outcomes(exit)).map(|k| Choice::Exit(number, k))),
                Status::Done | Status::Gone | Status::Ended => {}
            }
        }
        let living = |thread: &(usize, &Thread)| thread.1.is_alive();
        let (killed, others): (Vec<_>, Vec<_>) =
            self.threads.iter().enumerate().filter(living).partition(|(number, _)| self.is_killed(*number));
        choices.extend(killed.into_iter().flat_map(|(number, thread)| self.deaths(number, thread)));
        let quiet = choices.is_empty();
        if self.oracle.deaths_left > 0 {
            choices.extend(others.into_iter().flat_map(|(number, thread)| self.deaths(number, thread)));
        }
        if quiet {
            self.end_sleeps(&asleep, &mut choices);
        } else if self.oracle.interrupts_left > 0 {
            choices.extend(asleep.into_iter().map(|(number, _)| Choice::EndSleep(number)));
        }
        choices
    }

    /// Ends the sleeps that may reach their time limit, in a state without other steps.
    fn end_sleeps(&mut self, asleep: &[(usize, bool)], choices: &mut Vec<Choice>) {
        let may_end = |briefly: bool| (briefly || self.oracle.may_oversleep) && self.oracle.sleeps_left > 0;
        let before = choices.len();
        choices.extend(asleep.iter().filter(|sleep| may_end(sleep.1)).map(|(number, _)| Choice::EndSleep(*number)));
        if choices.len() == before && !asleep.is_empty() {
            let names: Vec<String> = asleep.iter().map(|(number, _)| name(*number)).collect();
            self.oracle.wrong(format!("{} would sleep forever: a wake-up was lost", names.join(" and ")));
        }
    }

    /// Returns the places at which a thread can die.
    fn deaths(&self, number: usize, thread: &Thread) -> impl Iterator<Item = Choice> {
        let anywhere = self.machine.scenario.dies_in_between;
        let places = (0..=thread.private.len()).rev().filter(move |keep| anywhere || !self.is_changing(number, *keep));
        places.map(move |keep| Choice::Die(number, keep))
    }

    /// Returns whether a thread is changing a word and a list, after `keep` of the private operations since its last step.
    fn is_changing(&self, number: usize, keep: usize) -> bool {
        self.machine.pending[number].into_iter().any(|pending| {
            let later = self.threads[number].private[keep..].iter().find_map(|done| match done {
                Private::Wrote { at, before } if *at == pending => Some(*before),
                _ => None,
            });
            later.unwrap_or_else(|| self.value(pending)) != 0
        })
    }

    /// Returns whether the death of a thread may lose a wake-up, so that other threads sleep until their time limit.
    ///
    /// That is so if the thread was woken, was changing a word and a list, was recovering a lock, or had its identity number in a word.
    fn may_lose_wake_up(&self, number: usize) -> bool {
        let me = self.machine.owners.words[number];
        let thread = &self.threads[number];
        let has_lock = thread.stage.locks.iter().any(|phase| *phase != Phase::Outside);
        thread.woken
            || self.is_changing(number, thread.private.len())
            || self.machine.claims.into_iter().any(|claim| self.value(claim) == me)
            || (has_lock && self.machine.scenario.uses_identity(number))
    }

    fn outcomes(&self, number: usize, op: Op) -> usize {
        match op {
            Op::Wake { at, class } => self.sleepers(at, class).count().max(1),
            Op::Clock if self.threads[number].armed => 2,
            _ => 1,
        }
    }

    fn exit_outcomes(&self, exit: &Exit) -> usize {
        match exit.steps.front() {
            Some(ExitStep::Wake(at)) => self.sleepers(*at, ANY).count().max(1),
            _ => 1,
        }
    }

    /// Returns the threads that sleep on a word with a bit of `class`.
    fn sleepers(&self, at: usize, class: u32) -> impl Iterator<Item = usize> {
        let is_one = move |status: &Status| match status {
            Status::Asleep { at: place, class: own, .. } => *place == at && own & class != 0,
            _ => false,
        };
        self.threads.iter().enumerate().filter(move |(_, thread)| is_one(&thread.status)).map(|(number, _)| number)
    }

    /// Executes a step. Returns the threads that it resumes.
    pub(crate) fn apply(&mut self, choice: Choice) -> Resumed {
        match choice {
            Choice::Step(number, k) => {
                let Status::Ready(op) = self.threads[number].status else { unreachable!("only a ready thread steps") };
                self.step(number, op, k)
            }
            Choice::Drain(number) => {
                self.drain(number);
                NO_THREAD
            }
            Choice::Die(number, keep) => {
                self.die(number, keep);
                NO_THREAD
            }
            Choice::Exit(number, k) => self.exit(number, k),
            Choice::EndSleep(number) => {
                let mut has_overslept = false;
                if self.threads[number].armed {
                    self.threads[number].armed = false;
                } else if self.oracle.interrupts_left > 0 {
                    self.oracle.interrupts_left -= 1;
                } else {
                    self.oracle.sleeps_left -= 1;
                    has_overslept = true;
                }
                self.threads[number].has_overslept |= has_overslept;
                self.say(number, || "wakes up without a wake-up call".to_owned());
                [Some((number, has_overslept.into())), None]
            }
        }
    }

    fn step(&mut self, number: usize, op: Op, k: usize) -> Resumed {
        let drains = matches!(op, Op::Change(..) | Op::Fence | Op::Wait { .. } | Op::Wake { .. } | Op::Barrier | Op::End);
        if let Some(trace) = &mut self.trace {
            trace.settle(number);
        }
        if drains {
            self.flush(number);
        }
        self.settle(number, self.threads[number].private.len());
        let value = match op {
            Op::Load(at) => self.view(number, at),
            Op::Change(at, change) => self.change(at, change),
            Op::Wait { at, value, class, briefly } if self.value(at) == value => {
                self.threads[number].status = Status::Asleep { at, class, briefly };
                self.say_op(number, op, 1);
                return NO_THREAD;
            }
            Op::Wake { at, class } => {
                let is_one = self.sleepers(at, class).next().is_some();
                self.say_op(number, op, is_one.into());
                let woken = self.wake(at, class, k);
                return [Some((number, is_one.into())), woken];
            }
            Op::Barrier => {
                let taking_part = (0..self.threads.len()).filter(|thread| self.machine.scenario.has_barriers(*thread));
                taking_part.for_each(|thread| self.flush_for_another(thread));
                0
            }
            Op::Clock => {
                self.threads[number].armed &= k == 0;
                k as u64
            }
            Op::Gone { thread, whole } => self.is_proved_gone(number, thread, whole).into(),
            Op::End => {
                self.say_op(number, op, 0);
                self.end(number);
                return NO_THREAD;
            }
            Op::Note(note) => {
                self.note(number, note);
                0
            }
            Op::Wait { .. } | Op::Fence => 0,
            Op::Store(..) | Op::Stage(_) | Op::Act(_) | Op::Loop(_) => unreachable!("these are executed without a step"),
        };
        self.say_op(number, op, value);
        [Some((number, value)), None]
    }

    fn wake(&mut self, at: usize, class: u32, k: usize) -> Option<(usize, u64)> {
        let number = self.sleepers(at, class).nth(k)?;
        self.threads[number].woken = true;
        self.say(number, || "is woken".to_owned());
        Some((number, 0))
    }

    /// Kills a thread. Its buffered stores become visible, because the kernel runs on the same processor.
    fn die(&mut self, number: usize, keep: usize) {
        if let Some(trace) = &mut self.trace {
            let undone = self.threads[number].private.len() - keep;
            trace.forget(number, undone);
        }
        let at_all = keep == self.threads[number].private.len();
        self.undo(number, keep);
        // A thread that has not started the release is still inside.
        match self.threads[number].private.iter().rposition(|done| matches!(done, Private::Leaving(_))) {
            Some(last) if last + 1 == keep => {}
            Some(last) => self.settle(number, last + 1),
            None => {}
        }
        self.flush(number);
        let may_lose_wake_up = self.may_lose_wake_up(number);
        let doing = match &self.threads[number].status {
            Status::Ready(op) if at_all => {
                self.trace.as_ref().map_or(String::new(), |trace| format!(", before it would {}", trace.op(*op, None)))
            }
            Status::Asleep { .. } => ", asleep".to_owned(),
            _ => String::new(),
        };
        self.say(number, || format!("DIES{doing}"));
        let stage = self.exit_of(number, true);
        self.oracle.died(number, stage, may_lose_wake_up);
    }

    /// Ends a thread, but not its process.
    fn end(&mut self, number: usize) {
        self.exit_of(number, false);
    }

    /// Starts the kernel's exit of a thread. Returns the thread's progress.
    fn exit_of(&mut self, number: usize, killed: bool) -> Stage {
        let exit = Exit { steps: self.walk(number), killed };
        let thread = &mut self.threads[number];
        thread.private.clear();
        thread.status = Status::Exiting(exit);
        thread.woken = false;
        thread.leaving = [None; LOCKS];
        thread.armed = false;
        std::mem::take(&mut thread.stage)
    }

    /// Returns the steps for the robust list of a dead thread. No other thread changes these links before the kernel has followed them.
    fn walk(&self, number: usize) -> VecDeque<ExitStep> {
        let start = self.machine.heads[number];
        let pending = self.value(self.machine.pending[number][0]) as usize;
        let mut steps = VecDeque::new();
        let mut entry = self.value(state::at(start)) as usize;
        while self.machine.scenario.walked && entry != start && steps.len() < 16 {
            let (next, word) = (self.value(state::at(entry)) as usize, self.machine.word_of(entry));
            if entry != pending {
                steps.push_back(ExitStep::Handle { at: word, pending: false });
            }
            entry = next;
        }
        if pending != 0 {
            steps.push_back(ExitStep::Handle { at: self.machine.word_of(pending), pending: true });
        }
        steps.push_back(ExitStep::Vanish);
        steps
    }

    fn exit(&mut self, number: usize, k: usize) -> Resumed {
        let Status::Exiting(exit) = &mut self.threads[number].status else { unreachable!("the thread is exiting") };
        let killed = exit.killed;
        let step = exit.steps.pop_front().expect("the last step is `Vanish`");
        let then = match step {
            ExitStep::Handle { at, pending } => self.handle(number, at, pending),
            ExitStep::Wake(at) => {
                self.say(number, || "the kernel wakes one waiter".to_owned());
                return [self.wake(at, ANY, k), None];
            }
            ExitStep::Vanish => {
                self.say(number, || "the end can be proven".to_owned());
                self.threads[number].status = if killed { Status::Gone } else { Status::Ended };
                None
            }
        };
        if let (Some(then), Status::Exiting(exit)) = (then, &mut self.threads[number].status) {
            exit.steps.push_front(then);
        }
        NO_THREAD
    }

    /// `handle_futex_death`.
    fn handle(&mut self, number: usize, at: usize, pending: bool) -> Option<ExitStep> {
        let word = self.value(at);
        if pending && word == 0 {
            self.say(number, || "the kernel finds the pending word free".to_owned());
            return Some(ExitStep::Wake(at));
        }
        if word & TID != u64::from(self.machine.scenario.tid(number)) {
            self.say(number, || "the kernel finds a word with another number".to_owned());
            return None;
        }
        self.set_value(at, (word & WAITERS) | DIED);
        let now = self.value(at);
        if let Some(trace) = &mut self.trace {
            trace.kernel(number, at, word, now);
        }
        (word & WAITERS != 0).then_some(ExitStep::Wake(at))
    }

    fn say(&mut self, number: usize, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.say(number, what());
        }
    }

    fn say_op(&mut self, number: usize, op: Op, value: u64) {
        if let Some(trace) = &mut self.trace {
            let text = trace.op(op, Some(value));
            trace.say(number, text);
        }
    }
}

//! Depth-first search through every state of a scenario. Each run repeats the steps to a state and continues from there.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::act;
use crate::bounds::OBSERVER;
use crate::coroutine::{Simulated, Stop};
use crate::final_check;
use crate::hash;
use crate::kernel::Choice;
use crate::scenario::Scenario;
use crate::setup::Setup;
use crate::state::{self, State};
use crate::thread::Status;

/// The result of exploring a scenario.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Number of visited states.
    pub states: usize,
    /// Number of runs.
    pub executions: usize,
    /// Number of deaths. Each differs from the others in the state or in the place in the thread.
    pub deaths: usize,
    /// Number of steps of the longest run.
    pub longest: usize,
    /// Number of checked final states.
    pub ends: usize,
    /// The verdict.
    pub verdict: Verdict,
}

/// The verdict on a scenario.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every state was visited without an error.
    Holds,
    /// An error was found.
    Fails {
        /// The error.
        what: String,
        /// The steps that lead to it, one a line.
        history: Vec<String>,
    },
    /// The limit on states was reached.
    Unfinished,
}

/// The progress of an exploration.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Number of states so far.
    pub states: usize,
    /// Number of runs so far.
    pub executions: usize,
}

impl Scenario {
    /// Visits every state of the scenario. Stops after `most` states.
    pub fn explore(&self, most: usize, mut progress: impl FnMut(Progress)) -> Report {
        Search::new(Setup::new(self.clone())).run(most, &mut progress)
    }
}

struct Search {
    setup: &'static Setup,
    threads: Vec<Simulated>,
    visited: HashSet<u128, BuildHasherDefault<Fingerprints>>,
    report: Report,
}

/// A state on the current path, with its possible steps and the index of the step that is being explored.
struct Fork {
    choices: Vec<Choice>,
    taken: usize,
}

impl Search {
    fn new(setup: &'static Setup) -> Self {
        let threads = (0..setup.scenario().threads()).map(|_| Simulated::new()).collect();
        let report = Report { states: 0, executions: 0, deaths: 0, longest: 0, ends: 0, verdict: Verdict::Holds };
        Self { setup, threads, visited: HashSet::default(), report }
    }

    fn run(mut self, most: usize, progress: &mut dyn FnMut(Progress)) -> Report {
        let mut path: Vec<Fork> = Vec::new();
        loop {
            self.report.executions += 1;
            if self.report.executions.is_multiple_of(1 << 16) {
                progress(Progress { states: self.visited.len(), executions: self.report.executions });
            }
            self.begin(false);
            for fork in &path {
                self.apply(fork.choices[fork.taken]);
            }
            if path.last().is_some_and(|fork| matches!(fork.choices[fork.taken], Choice::Die(..))) {
                self.report.deaths += 1;
            }
            self.extend(&mut path);
            self.report.longest = self.report.longest.max(path.len());
            self.report.states = self.visited.len();
            if let Some(what) = state::with(|state| state.oracle.wrong.take()) {
                let choices: Vec<Choice> = path.iter().map(|fork| fork.choices[fork.taken]).collect();
                let history = self.replay(&choices);
                self.report.verdict = Verdict::Fails { what, history };
                return self.report;
            }
            if self.visited.len() > most {
                self.report.verdict = Verdict::Unfinished;
                return self.report;
            }
            while let Some(fork) = path.last_mut() {
                fork.taken += 1;
                if fork.taken < fork.choices.len() {
                    break;
                }
                path.pop();
            }
            if path.is_empty() {
                return self.report;
            }
        }
    }

    /// Runs from the current state until a visited or a final state, and extends the path.
    fn extend(&mut self, path: &mut Vec<Fork>) {
        loop {
            let (fingerprint, wrong) = state::with(|state| (state.fingerprint(), state.oracle.wrong.is_some()));
            if wrong || !self.visited.insert(fingerprint) {
                return;
            }
            let choices = state::with(State::choices);
            let Some(first) = choices.first().copied() else { return self.finish() };
            if state::with(|state| state.oracle.wrong.is_some()) {
                return;
            }
            path.push(Fork { choices, taken: 0 });
            self.report.deaths += usize::from(matches!(first, Choice::Die(..)));
            self.apply(first);
        }
    }

    /// Runs the observer's checks on a final state.
    fn finish(&mut self) {
        if state::with(|state| state.oracle.wrong.is_some()) {
            return;
        }
        self.report.ends += 1;
        state::with(|state| state.current = OBSERVER);
        final_check::finish(self.setup);
    }

    /// Repeats these steps, and returns a history for people to read.
    fn replay(&mut self, choices: &[Choice]) -> Vec<String> {
        self.begin(true);
        for choice in choices {
            self.apply(*choice);
        }
        let quiet = state::with(|state| state.choices().is_empty());
        if quiet {
            self.finish();
        }
        state::with(|state| state.trace.take()).map(|trace| trace.lines).unwrap_or_default()
    }

    fn begin(&mut self, traced: bool) {
        self.setup.begin(traced);
        let setup = self.setup;
        for number in 0..self.threads.len() {
            state::with(|state| state.current = number);
            let stop = self.threads[number].start(move || act::run(setup, number));
            settle(number, stop);
        }
    }

    fn apply(&mut self, choice: Choice) {
        for (number, value) in state::with(|state| state.apply(choice)).into_iter().flatten() {
            state::with(|state| {
                state.current = number;
                state.threads[number].seen = hash::mix(state.threads[number].seen, value);
            });
            let stop = self.threads[number].resume(value);
            settle(number, stop);
        }
    }
}

fn settle(number: usize, stop: Stop) {
    state::with(|state| {
        state.threads[number].status = match stop {
            Stop::Before(op) => Status::Ready(op),
            Stop::End(end) => {
                if let Err(panic) = end {
                    state.oracle.wrong(panic);
                }
                state.threads[number].private.clear();
                Status::Done
            }
        };
    });
}

/// A hasher that returns a fingerprint unchanged.
#[derive(Default)]
struct Fingerprints(u64);

impl Hasher for Fingerprints {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed");
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

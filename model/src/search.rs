//! Depth first through every state of a scenario, by running it again and again.

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

/// What came of a scenario.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// How many different states there are.
    pub states: usize,
    /// How many runs it took.
    pub executions: usize,
    /// How many deaths, each in another state or at another place of a thread.
    pub deaths: usize,
    /// The steps of the longest run.
    pub longest: usize,
    /// How many states were final, and looked at.
    pub ends: usize,
    /// What was found.
    pub verdict: Verdict,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every state was visited, and nothing was wrong in any.
    Holds,
    /// Something was wrong.
    Fails {
        /// What.
        what: String,
        /// How it came to that, line by line.
        history: Vec<String>,
    },
    /// There are more states than were allowed.
    Unfinished,
}

/// What is known on the way.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// States so far.
    pub states: usize,
    /// Runs so far.
    pub executions: usize,
}

impl Scenario {
    /// Visits every state, but no more than so many.
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

/// A state on the way to the present one: what can be done there, and which of it is being done.
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
            self.go_on(&mut path);
            self.report.longest = self.report.longest.max(path.len());
            self.report.states = self.visited.len();
            if let Some(what) = state::with(|state| state.oracle.wrong.take()) {
                let choices: Vec<Choice> = path.iter().map(|fork| fork.choices[fork.taken]).collect();
                let history = self.tell(&choices);
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

    /// From a state that may be new, to one that is known, or to the end.
    fn go_on(&mut self, path: &mut Vec<Fork>) {
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

    /// All is quiet: somebody comes and looks.
    fn finish(&mut self) {
        if state::with(|state| state.oracle.wrong.is_some()) {
            return;
        }
        self.report.ends += 1;
        state::with(|state| state.current = OBSERVER);
        final_check::finish(self.setup);
    }

    /// The same once more, for people to read.
    fn tell(&mut self, choices: &[Choice]) -> Vec<String> {
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

/// Takes a fingerprint for what it is.
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

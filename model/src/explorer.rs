//! Depth first through every state of a scenario, by running it again and again.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::act;
use crate::coroutine::{Simulated, Stop};
use crate::final_check;
use crate::kernel::Choice;
use crate::scenario::Scenario;
use crate::scene::{OBSERVER, Scene};
use crate::thread::State;
use crate::world;

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

/// Visits every state, but no more than so many.
pub(crate) fn explore(scenario: &Scenario, most: usize, progress: &mut dyn FnMut(Progress)) -> Report {
    Explorer::new(Scene::new(scenario.clone())).explore(most, progress)
}

struct Explorer {
    scene: &'static Scene,
    threads: Vec<Simulated>,
    visited: HashSet<u128, BuildHasherDefault<Fingerprints>>,
    report: Report,
}

/// A state on the way to the present one: what can be done there, and which of it is being done.
struct Fork {
    choices: Vec<Choice>,
    taken: usize,
}

impl Explorer {
    fn new(scene: &'static Scene) -> Self {
        let threads = (0..scene.threads()).map(|_| Simulated::new()).collect();
        let report = Report { states: 0, executions: 0, deaths: 0, longest: 0, ends: 0, verdict: Verdict::Holds };
        Self { scene, threads, visited: HashSet::default(), report }
    }

    fn explore(mut self, most: usize, progress: &mut dyn FnMut(Progress)) -> Report {
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
            if let Some(what) = world::with(|world| world.ghost.wrong.take()) {
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
            let (fingerprint, wrong) = world::with(|world| (world.fingerprint(), world.ghost.wrong.is_some()));
            if wrong || !self.visited.insert(fingerprint) {
                return;
            }
            let choices = world::with(world::World::choices);
            let Some(first) = choices.first().copied() else { return self.finish() };
            if world::with(|world| world.ghost.wrong.is_some()) {
                return;
            }
            path.push(Fork { choices, taken: 0 });
            self.report.deaths += usize::from(matches!(first, Choice::Die(..)));
            self.apply(first);
        }
    }

    /// All is quiet: somebody comes and looks.
    fn finish(&mut self) {
        if world::with(|world| world.ghost.wrong.is_some()) {
            return;
        }
        self.report.ends += 1;
        world::with(|world| world.current = OBSERVER);
        final_check::finish(self.scene);
    }

    /// The same once more, for people to read.
    fn tell(&mut self, choices: &[Choice]) -> Vec<String> {
        self.begin(true);
        for choice in choices {
            self.apply(*choice);
        }
        let quiet = world::with(|world| world.choices().is_empty());
        if quiet {
            self.finish();
        }
        world::with(|world| world.trace.take()).map(|trace| trace.lines).unwrap_or_default()
    }

    fn begin(&mut self, traced: bool) {
        world::begin(self.scene, traced);
        let scene = self.scene;
        for number in 0..self.threads.len() {
            world::with(|world| world.current = number);
            let stop = self.threads[number].start(move || act::run(scene, number));
            settle(number, stop);
        }
    }

    fn apply(&mut self, choice: Choice) {
        for (number, value) in world::with(|world| world.apply(choice)).into_iter().flatten() {
            world::with(|world| {
                world.current = number;
                world.threads[number].seen = crate::hash::mix(world.threads[number].seen, value);
            });
            let stop = self.threads[number].resume(value);
            settle(number, stop);
        }
    }
}

fn settle(number: usize, stop: Stop) {
    world::with(|world| {
        world.threads[number].state = match stop {
            Stop::Before(op) => State::Ready(op),
            Stop::End(end) => {
                if let Err(panic) = end {
                    world.ghost.wrong(panic);
                }
                world.threads[number].private.clear();
                State::Done
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

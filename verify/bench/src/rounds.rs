//! Subjects that take turns, in a different order each round, so that disturbances affect all of them. The result is the ratio to the
//! peer in the same round.

use std::time::{Duration, Instant};

use crate::row::Row;
use crate::unit::Unit;

/// Minimum duration of a turn: long compared with the cost of the clock, short compared with a time slice.
const TURN: Duration = Duration::from_micros(300);

/// A measured operation.
pub(crate) struct Subject<'a> {
    name: String,
    turn: Box<dyn FnMut(u64) -> Duration + 'a>,
    times: u64,
    ns: Vec<f64>,
}

/// The measurements of a subject.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    /// Nanoseconds per operation, for each round.
    pub(crate) ns: Vec<f64>,
}

impl<'a> Subject<'a> {
    /// A subject that is timed in a loop. The loop is compiled with the operation, so only the operation is timed.
    pub(crate) fn new(name: impl Into<String>, mut once: impl FnMut() + 'a) -> Self {
        Self::with_turn(name, move |times| {
            let start = Instant::now();
            (0..times).for_each(|_| once());
            start.elapsed()
        })
    }

    /// A subject that returns its own time, without setup and cleanup.
    pub(crate) fn timed(name: impl Into<String>, mut once: impl FnMut() -> Duration + 'a) -> Self {
        Self::with_turn(name, move |times| (0..times).map(|_| once()).sum())
    }

    fn with_turn(name: impl Into<String>, turn: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self { name: name.into(), turn: Box::new(turn), times: 1, ns: Vec::new() }
    }

    /// Warms up, and determines the number of operations per turn.
    fn calibrate(&mut self) {
        // The first operation may include setup.
        (self.turn)(1);
        while (self.turn)(self.times) < TURN / 2 && self.times < 1 << 20 {
            self.times *= 2;
        }
    }

    fn take_turn(&mut self) {
        self.ns.push((self.turn)(self.times).as_nanos() as f64 / self.times as f64);
    }
}

/// Measures the subjects in turns, for this many rounds.
pub(crate) fn compare<const N: usize>(rounds: usize, mut subjects: [Subject<'_>; N]) -> [Sample; N] {
    subjects.iter_mut().for_each(Subject::calibrate);
    for round in 0..rounds {
        for turn in 0..N {
            subjects[(round + turn) % N].take_turn();
        }
    }
    subjects.map(|subject| Sample { name: subject.name, ns: subject.ns })
}

impl Sample {
    /// A row for this subject.
    pub(crate) fn row(&self, group: &'static str, name: impl Into<String>) -> Row {
        Row::new(group, name, Unit::Nanoseconds, &self.ns)
    }

    /// A row that compares this subject with another one of the same rounds.
    pub(crate) fn beside(&self, peer: &Self, group: &'static str, name: impl Into<String>) -> Row {
        self.row(group, name).against(&peer.name, &self.ns, &peer.ns)
    }
}

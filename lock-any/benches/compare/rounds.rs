//! Subjects that take turns, in another order each round, so that what disturbs the machine disturbs all alike. What counts is each
//! round's ratio to the peer of the same round.

use std::time::{Duration, Instant};

use crate::row::Row;
use crate::unit::Unit;

/// How long a turn is at least: long against the clock's own cost, short against a time slice.
const TURN: Duration = Duration::from_micros(300);

/// Something that is timed.
pub(crate) struct Subject<'a> {
    name: String,
    turn: Box<dyn FnMut(u64) -> Duration + 'a>,
    times: u64,
    ns: Vec<f64>,
}

/// What came of a subject's turns.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    /// Nanoseconds each, one figure for each round.
    pub(crate) ns: Vec<f64>,
}

impl<'a> Subject<'a> {
    /// A subject of which a whole loop is timed. The loop is compiled with it, so that nothing else is.
    pub(crate) fn new(name: impl Into<String>, mut once: impl FnMut() + 'a) -> Self {
        Self::with_turn(name, move |times| {
            let start = Instant::now();
            (0..times).for_each(|_| once());
            start.elapsed()
        })
    }

    /// A subject that does more than is timed, and times itself.
    pub(crate) fn timed(name: impl Into<String>, mut once: impl FnMut() -> Duration + 'a) -> Self {
        Self::with_turn(name, move |times| (0..times).map(|_| once()).sum())
    }

    fn with_turn(name: impl Into<String>, turn: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self { name: name.into(), turn: Box::new(turn), times: 1, ns: Vec::new() }
    }

    /// Warms up, and finds out how often makes a turn.
    fn calibrate(&mut self) {
        // Who does something for the first time may have to make what it does it with.
        (self.turn)(1);
        while (self.turn)(self.times) < TURN / 2 && self.times < 1 << 20 {
            self.times *= 2;
        }
    }

    fn take_turn(&mut self) {
        self.ns.push((self.turn)(self.times).as_nanos() as f64 / self.times as f64);
    }
}

/// Has the subjects take turns for so many rounds.
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
    /// A row about this subject alone.
    pub(crate) fn row(&self, group: &'static str, name: impl Into<String>) -> Row {
        Row::new(group, name, Unit::Nanoseconds, &self.ns)
    }

    /// A row about this subject beside another of the same rounds.
    pub(crate) fn beside(&self, peer: &Self, group: &'static str, name: impl Into<String>) -> Row {
        self.row(group, name).against(&peer.name, &self.ns, &peer.ns)
    }
}

//! Subjects that take turns, and what comes of it.

use std::fmt;
use std::time::Instant;

/// Lock and unlock pairs in a turn; long against the clock's own cost, short against a time slice.
const PAIRS: u32 = 20_000;

/// Something that is timed.
pub(crate) struct Subject<'a> {
    name: &'static str,
    turn: Box<dyn FnMut() + 'a>,
    ns: Vec<f64>,
}

impl<'a> Subject<'a> {
    /// A subject whose `pair` locks and unlocks. The loop is compiled with it, so that nothing else is timed.
    pub(crate) fn new(name: &'static str, mut pair: impl FnMut() + 'a) -> Self {
        let turn = move || (0..PAIRS).for_each(|_| pair());
        Self { name, turn: Box::new(turn), ns: Vec::new() }
    }

    fn take_turn(&mut self) {
        let start = Instant::now();
        (self.turn)();
        self.ns.push(start.elapsed().as_nanos() as f64 / f64::from(PAIRS));
    }
}

/// Medians, and the ratios of each subject to each.
pub(crate) struct Report {
    rows: Vec<Row>,
    rounds: usize,
}

struct Row {
    name: &'static str,
    ns: f64,
    /// To each subject in turn: quartiles of the rounds' ratios.
    ratios: Vec<[f64; 3]>,
}

/// Has the subjects take turns for so many rounds, after one to warm up.
pub(crate) fn compare(rounds: usize, mut subjects: Vec<Subject<'_>>) -> Report {
    subjects.iter_mut().for_each(|subject| (subject.turn)());
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            let next = (round + turn) % subjects.len();
            subjects[next].take_turn();
        }
    }
    let row = |subject: &Subject<'_>| Row {
        name: subject.name,
        ns: quartiles(subject.ns.clone())[1],
        ratios: subjects.iter().map(|other| quartiles(subject.ns.iter().zip(&other.ns).map(|(a, b)| a / b).collect())).collect(),
    };
    Report { rows: subjects.iter().map(row).collect(), rounds }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "lock + unlock, uncontended; medians of {} rounds, quartiles in brackets", self.rounds)?;
        for row in &self.rows {
            writeln!(f, "{:<36} {:>7.1} ns", row.name, row.ns)?;
            for (other, [low, median, high]) in self.rows.iter().zip(&row.ratios) {
                if other.name != row.name {
                    writeln!(f, "    {median:>5.2} x {} [{low:.2} .. {high:.2}]", other.name)?;
                }
            }
        }
        Ok(())
    }
}

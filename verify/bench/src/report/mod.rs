//! Reports: tables for a terminal and a document, JSON, and a page with plots.

mod document;
mod json;
mod page;
mod plot;
mod text;

use std::fs;

use crate::allocation::Point;
use crate::row::{Row, Spread};

pub(crate) use self::document::replace;

/// The results of a run.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    pub(crate) points: Vec<Point>,
}

/// The machine and the number of measurements.
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    pub(crate) model: String,
    pub(crate) kernel: String,
    pub(crate) rounds: String,
}

impl Machine {
    pub(crate) fn here(rounds: String) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("unknown", |(_, name)| name).to_owned();
        Self { cpus, model, kernel: kernel.trim().to_owned(), rounds }
    }

    fn sentence(&self) -> String {
        let Self { cpus, model, kernel, rounds } = self;
        format!("{cpus} CPUs ({model}), Linux {kernel}; {rounds}")
    }
}

impl Report {
    pub(crate) fn text(&self) -> String {
        text::text(self)
    }

    pub(crate) fn json(&self) -> String {
        json::json(self)
    }

    pub(crate) fn page(&self) -> String {
        page::page(self)
    }

    /// Formats the tables for docs/performance.md.
    pub(crate) fn document(&self) -> String {
        document::document(self)
    }

    /// Draws the plot for docs/performance.md.
    pub(crate) fn growth(&self) -> String {
        plot::growth(&self.points)
    }

    /// The rows of each group, in the order of the first row of each group.
    fn groups(&self) -> Vec<(&'static str, Vec<&Row>)> {
        let mut groups: Vec<(&str, Vec<&Row>)> = Vec::new();
        for row in &self.rows {
            match groups.iter_mut().find(|(name, _)| *name == row.group) {
                Some((_, rows)) => rows.push(row),
                None => groups.push((row.group, vec![row])),
            }
        }
        groups
    }

    /// The number of promises, and the missed ones.
    fn verdict(&self) -> (usize, Vec<&Row>) {
        let judged = self.rows.iter().filter(|row| row.is_met().is_some());
        let missed = judged.clone().filter(|row| row.is_met() == Some(false));
        (judged.count(), missed.collect())
    }

    fn summary(&self) -> String {
        match self.verdict() {
            (promises, missed) if missed.is_empty() => format!("All {promises} promises were met."),
            (promises, missed) => {
                let names: Vec<_> = missed.iter().map(|row| row.title()).collect();
                format!("{} of {promises} promises were met. Missed:\n- {}\n", promises - missed.len(), names.join("\n- "))
            }
        }
    }
}

const TITLES: [&str; 7] = ["what", "ours", "peer", "peer's", "ratio [quartiles]", "promise", "met"];

/// Formats a row, with a cell for each title.
fn cells(row: &Row) -> [String; 7] {
    let figure = |spread: Option<Spread>| spread.map_or_else(String::new, |spread| row.unit.show(spread.median));
    let ours = row.ours.map_or_else(|| "not measured".to_owned(), |spread| row.unit.show(spread.median));
    let (peer, theirs) = row.peer.as_ref().map_or((String::new(), None), |(name, spread)| (name.clone(), Some(*spread)));
    let promise = row.promise.map_or_else(String::new, |promise| promise.shown(row.unit));
    let met = row.is_met().map_or("", |met| if met { "yes" } else { "NO" });
    [row.name.clone(), ours, peer, figure(theirs), ratio(row.ratio), promise, met.to_owned()]
}

fn ratio(ratio: Option<Spread>) -> String {
    let number = |value: f64| match value {
        0.1.. => format!("{value:.2}"),
        0.001.. => format!("{value:.4}"),
        _ => format!("1/{:.0}", 1.0 / value),
    };
    match ratio {
        None => String::new(),
        Some(Spread { low, median, high }) if low == high => number(median),
        Some(Spread { low, median, high }) => format!("{} [{} – {}]", number(median), number(low), number(high)),
    }
}

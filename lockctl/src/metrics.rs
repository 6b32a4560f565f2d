//! `metrics`: figures of a store in the text format of Prometheus. Reading them acquires, delays and changes no lock.
//!
//! A figure that the backend does not know is absent.

use std::fmt::Write as _;
use std::time::Duration;

use lock_any::{Numbering, Store, Waiters};

use crate::cli::StoreArgs;
use crate::entries;
use crate::exit::Failure;
use crate::list::{Row, Rows};
use crate::output;

/// A metric: its name, its description, and its value if it is known.
type Metric = (&'static str, &'static str, Option<f64>);

/// The figures of the locks of a store. Each is `None` if it is not known.
#[derive(Default)]
struct Figures {
    capacity: Option<u64>,
    allocated: Option<u64>,
    held: Option<u64>,
    waiters: Option<u64>,
    longest_hold: Option<Duration>,
    longest_wait: Option<Duration>,
    deaths: Option<u64>,
}

pub(crate) fn metrics(store_args: &StoreArgs) -> Result<(), Failure> {
    let store = store_args.open()?;
    let figures = if store.capabilities().numbering == Numbering::Single { single(&store)? } else { numbered(&store)? };
    Ok(output::print(format(store.url(), &figures))?)
}

fn numbered(store: &Store) -> Result<Figures, Failure> {
    let mut rows = Rows::of(store, false)?;
    let counts_waiters = rows.names_waiters() || store.capabilities().waiters != Waiters::Unknown;
    let mut figures = Figures {
        capacity: store.capacity(),
        allocated: Some(0),
        held: rows.knows_held().then_some(0),
        waiters: counts_waiters.then_some(0),
        longest_wait: rows.names_waiters().then_some(Duration::ZERO),
        deaths: rows.knows_deaths().then_some(0),
        longest_hold: None,
    };
    for row in rows.by_ref() {
        figures.add(&row?);
    }
    if figures.held == Some(0) {
        figures.longest_hold = Some(Duration::ZERO);
    }
    Ok(figures)
}

fn single(store: &Store) -> Result<Figures, Failure> {
    let row = Row::from(entries::single(store)?);
    let mut figures = Figures { held: row.held.map(|_| 0), waiters: row.waiters.map(|_| 0), ..Figures::default() };
    figures.add(&row);
    if figures.held == Some(0) {
        figures.longest_hold = Some(Duration::ZERO);
    }
    Ok(figures)
}

impl Figures {
    /// Adds a lock to the figures that are known.
    fn add(&mut self, row: &Row) {
        let count = |figure: &mut Option<u64>, by: u64| {
            if let Some(figure) = figure {
                *figure += by;
            }
        };
        count(&mut self.allocated, u64::from(row.allocated));
        count(&mut self.held, u64::from(row.held == Some(true)));
        count(&mut self.waiters, u64::from(row.waiters.unwrap_or_default()));
        count(&mut self.deaths, u64::from(row.death.is_some()));
        self.longest_hold = self.longest_hold.max(row.held_for_at_least);
        if let Some(longest) = &mut self.longest_wait {
            *longest = (*longest).max(row.longest_wait.unwrap_or_default());
        }
    }

    fn metrics(&self) -> [Metric; 7] {
        let count = |figure: Option<u64>| figure.map(|figure| figure as f64);
        let seconds = |figure: Option<Duration>| figure.map(|figure| figure.as_secs_f64());
        [
            ("lockctl_capacity", "Maximum number of locks in the store.", count(self.capacity)),
            ("lockctl_allocated", "Number of allocated ids.", count(self.allocated)),
            ("lockctl_held", "Number of held locks.", count(self.held)),
            ("lockctl_waiters", "Number of threads that wait for locks.", count(self.waiters)),
            (
                "lockctl_longest_hold_seconds",
                "Lower bound of the longest time for which a lock is held.",
                seconds(self.longest_hold),
            ),
            ("lockctl_longest_wait_seconds", "Longest time for which a thread has waited until now.", seconds(self.longest_wait)),
            (
                "lockctl_deaths_unresolved",
                "Number of locks whose owner died and with whose data no owner has dealt.",
                count(self.deaths),
            ),
        ]
    }
}

/// Formats the metrics that are known.
fn format(store: &str, figures: &Figures) -> String {
    let store = escaped_label(store);
    let mut text = String::new();
    for (name, help, value) in figures.metrics() {
        if let Some(value) = value {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{store=\"{store}\"}} {value}\n");
        }
    }
    text
}

/// Escapes the value of a label.
fn escaped_label(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_not_known_is_absent() {
        assert_eq!(format("shm:x", &Figures::default()), "");
        let text =
            format("shm:x", &Figures { held: Some(3), longest_wait: Some(Duration::from_millis(1500)), ..Figures::default() });
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["lockctl_held{store=\"shm:x\"} 3", "lockctl_longest_wait_seconds{store=\"shm:x\"} 1.5"]);
    }

    #[test]
    fn the_value_of_a_label_is_escaped() {
        assert_eq!(escaped_label("a\\b\"c\nd ä"), "a\\\\b\\\"c\\nd ä");
    }
}

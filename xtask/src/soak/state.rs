use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use lock_conformance::soak::Totals;

use crate::Result;
use crate::journal::Journal;

/// The totals of each backend. Each update appends a line to the file, and the last line of a backend is valid.
pub(super) struct State {
    journal: Journal,
    totals: BTreeMap<String, Totals>,
}

impl State {
    /// Reads the file. An absent file has no totals.
    pub(super) fn read(file: Option<&Path>) -> Result<Self> {
        let (journal, lines) = Journal::open(file, parse)?;
        Ok(Self { journal, totals: lines.into_iter().collect() })
    }

    pub(super) fn totals(&self, scheme: &str) -> Totals {
        self.totals.get(scheme).copied().unwrap_or_default()
    }

    pub(super) fn keep(&mut self, scheme: &str, totals: Totals) -> io::Result<()> {
        self.totals.insert(scheme.to_owned(), totals);
        self.journal.add(&line(scheme, &totals))
    }
}

fn line(scheme: &str, totals: &Totals) -> String {
    let Totals { kills, aimed, owner_deaths, unnamed, sections, allocations, violations, lost, worst_wait, time, .. } = totals;
    format!(
        "{scheme} kills={kills} aimed={aimed} owner_deaths={owner_deaths} unnamed={unnamed} sections={sections} allocations={allocations} \
         violations={violations} lost={lost} worst_wait_us={} time_ms={}",
        worst_wait.as_micros(),
        time.as_millis()
    )
}

fn parse(line: &str) -> Option<(String, Totals)> {
    let mut words = line.split(' ');
    let scheme = words.next()?.to_owned();
    let mut totals = Totals::default();
    for word in words {
        let (name, value) = word.split_once('=')?;
        let value: u64 = value.parse().ok()?;
        match name {
            "kills" => totals.kills = value,
            "aimed" => totals.aimed = value,
            "owner_deaths" => totals.owner_deaths = value,
            "unnamed" => totals.unnamed = value,
            "sections" => totals.sections = value,
            "allocations" => totals.allocations = value,
            "violations" => totals.violations = value,
            "lost" => totals.lost = value,
            "worst_wait_us" => totals.worst_wait = Duration::from_micros(value),
            "time_ms" => totals.time = Duration::from_millis(value),
            _ => return None,
        }
    }
    Some((scheme, totals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_backend_is_valid() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        let mut totals = Totals::default();
        (totals.kills, totals.worst_wait) = (3, Duration::from_micros(1500));
        let mut state = State::read(Some(&file)).unwrap();
        state.keep("shm", Totals::default()).unwrap();
        state.keep("shm", totals).unwrap();
        state.keep("file", Totals::default()).unwrap();
        let state = State::read(Some(&file)).unwrap();
        assert_eq!(state.totals("shm"), totals);
        assert_eq!(state.totals("sem"), Totals::default());
    }

    #[test]
    fn an_invalid_line_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        std::fs::write(&file, "shm kills=many\n").unwrap();
        assert!(State::read(Some(&file)).is_err());
    }
}

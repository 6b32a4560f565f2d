use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lock_conformance::soak::Totals;

use crate::Result;

/// The totals of each backend, in a file to which a line is added whenever they grow: the last one of a backend counts.
pub(super) struct State {
    file: Option<PathBuf>,
    totals: BTreeMap<String, Totals>,
}

impl State {
    /// What is in the file, which need not be there.
    pub(super) fn read(file: Option<&Path>) -> Result<Self> {
        let text = match file.map(fs::read_to_string) {
            None => String::new(),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => String::new(),
            Some(text) => text?,
        };
        let mut totals = BTreeMap::new();
        for line in text.lines() {
            let (scheme, one) = parse(line).ok_or_else(|| format!("the state has a line that is none: {line:?}"))?;
            totals.insert(scheme.to_owned(), one);
        }
        Ok(Self { file: file.map(Path::to_owned), totals })
    }

    pub(super) fn totals(&self, scheme: &str) -> Totals {
        self.totals.get(scheme).copied().unwrap_or_default()
    }

    pub(super) fn keep(&mut self, scheme: &str, totals: Totals) -> io::Result<()> {
        self.totals.insert(scheme.to_owned(), totals);
        let Some(file) = &self.file else { return Ok(()) };
        fs::File::options().append(true).create(true).open(file)?.write_all(line(scheme, &totals).as_bytes())
    }
}

fn line(scheme: &str, totals: &Totals) -> String {
    let Totals { kills, aimed, owner_deaths, unnamed, sections, allocations, violations, lost, worst_wait, time, .. } = totals;
    format!(
        "{scheme} kills={kills} aimed={aimed} owner_deaths={owner_deaths} unnamed={unnamed} sections={sections} allocations={allocations} \
         violations={violations} lost={lost} worst_wait_us={} time_ms={}\n",
        worst_wait.as_micros(),
        time.as_millis()
    )
}

fn parse(line: &str) -> Option<(&str, Totals)> {
    let mut words = line.split(' ');
    let scheme = words.next()?;
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
    fn the_last_line_of_a_backend_counts() {
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
    fn a_line_that_is_none_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        fs::write(&file, "shm kills=many\n").unwrap();
        assert!(State::read(Some(&file)).is_err());
    }
}

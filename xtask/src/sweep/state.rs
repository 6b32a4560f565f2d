use std::fmt;
use std::io;
use std::path::Path;

use lock_conformance::sweep::{By, Row};

use crate::Result;
use crate::journal::Journal;

/// The finished rows. Each one is a line in the file.
#[derive(Clone)]
pub(super) struct State {
    journal: Journal,
    lines: Vec<Line>,
}

impl State {
    /// Reads the file. An absent file has no rows.
    pub(super) fn read(file: Option<&Path>) -> Result<Self> {
        let (journal, lines) = Journal::open(file, parse)?;
        Ok(Self { journal, lines })
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter()
    }

    pub(super) fn has(&self, scheme: &str, operation: &str, by: By) -> bool {
        let by = by.to_string();
        self.lines.iter().any(|line| line.scheme == scheme && line.operation == operation && line.by == by)
    }

    pub(super) fn keep(&mut self, line: Line) -> io::Result<()> {
        let text = line.to_string();
        self.lines.push(line);
        self.journal.add(&text)
    }
}

/// The result of sweeping one operation of a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) scheme: String,
    pub(super) operation: String,
    pub(super) by: String,
    /// Number of points to kill at.
    pub(super) chosen: usize,
    pub(super) points: usize,
    pub(super) stepped: usize,
    pub(super) lost: usize,
}

impl Line {
    pub(super) fn new(scheme: &str, row: &Row) -> Self {
        let (operation, by) = (row.operation.to_owned(), row.by.to_string());
        let Row { chosen, points, stepped, lost, .. } = *row;
        Self { scheme: scheme.to_owned(), operation, by, chosen, points, stepped, lost }
    }

    /// Number of points that were not reached again.
    pub(super) fn missed(&self) -> usize {
        self.chosen - self.points
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, operation, by, chosen, points, stepped, lost } = self;
        write!(f, "{scheme}: {operation}: at each {by}: {points} points of {chosen}, {stepped} by steps, {lost} lost")
    }
}

fn parse(line: &str) -> Option<Line> {
    let mut parts = line.splitn(4, ": ");
    let (scheme, operation, by) =
        (parts.next()?.to_owned(), parts.next()?.to_owned(), parts.next()?.strip_prefix("at each ")?.to_owned());
    let (points, rest) = parts.next()?.split_once(" points of ")?;
    let (chosen, rest) = rest.split_once(", ")?;
    let (stepped, rest) = rest.split_once(" by steps, ")?;
    let lost = rest.strip_suffix(" lost")?;
    let [chosen, points, stepped, lost] = [chosen, points, stepped, lost].map(|number| number.parse().ok());
    let line = Line { scheme, operation, by, chosen: chosen?, points: points?, stepped: stepped?, lost: lost? };
    (line.points <= line.chosen).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(operation: &str, lost: usize) -> Line {
        let [scheme, operation, by] = ["shm", operation, "system call"].map(str::to_owned);
        Line { scheme, operation, by, chosen: 12, points: 11, stepped: 2, lost }
    }

    #[test]
    fn finished_rows_are_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        let mut state = State::read(Some(&file)).unwrap();
        state.keep(line("lock and unlock", 0)).unwrap();
        state.keep(line("free", 3)).unwrap();
        let state = State::read(Some(&file)).unwrap();
        assert_eq!(state.lines().cloned().collect::<Vec<_>>(), [line("lock and unlock", 0), line("free", 3)]);
        assert!(state.has("shm", "free", By::SystemCall));
        assert!(!state.has("shm", "free", By::Instruction) && !state.has("file", "free", By::SystemCall));
    }

    #[test]
    fn an_invalid_line_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        for none in ["shm", "shm: free: at each instruction: 12 points of 11, 0 by steps, 0 lost"] {
            std::fs::write(&file, format!("{none}\n")).unwrap();
            assert!(State::read(Some(&file)).is_err());
        }
    }
}

//! The summary of a run by promise, as text and as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Suite;
use crate::case::Case;
use crate::need::Lack;
use crate::promise::{PROMISES, Promise};

/// The outcomes of all cases of a run.
pub(crate) struct Report {
    suites: Vec<String>,
    outcomes: Mutex<Vec<(String, &'static Case, Outcome)>>,
}

/// The outcome of a case.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    Skipped(Lack),
    /// The case was not run, because other cases hang.
    NotRun,
}

/// The results of a suite for one promise.
#[derive(Default, PartialEq, Eq, Debug)]
struct Cell {
    /// Number of passed cases.
    passed: usize,
    /// Number of passed cases that prove a refusal without a claim.
    refused: usize,
    /// The failed cases.
    failed: BTreeSet<&'static str>,
    /// The missing requirements of skipped cases.
    lacks: BTreeSet<Lack>,
    not_run: usize,
}

impl Report {
    pub(crate) fn new(suites: &[Arc<Suite>]) -> Self {
        Self { suites: suites.iter().map(|suite| suite.name().to_owned()).collect(), outcomes: Mutex::default() }
    }

    pub(crate) fn note(&self, suite: &Suite, case: &'static Case, outcome: Outcome) {
        self.outcomes().push((suite.name().to_owned(), case, outcome));
    }

    /// Returns the number of cases that were run.
    pub(crate) fn count(&self) -> usize {
        self.outcomes().iter().filter(|(.., outcome)| !matches!(outcome, Outcome::Skipped(_))).count()
    }

    fn outcomes(&self) -> MutexGuard<'_, Vec<(String, &'static Case, Outcome)>> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the promises with cases in this run, with one cell for each suite.
    fn rows(&self) -> Vec<(&'static Promise, Vec<Cell>)> {
        let mut cells: BTreeMap<_, Cell> = BTreeMap::new();
        for (suite, case, outcome) in self.outcomes().iter() {
            let cell = cells.entry((case.group(), suite.clone())).or_default();
            match outcome {
                Outcome::Passed => {
                    cell.passed += 1;
                    cell.refused += usize::from(!case.unless.is_empty());
                }
                Outcome::Failed => _ = cell.failed.insert(case.name),
                Outcome::Skipped(lack) => _ = cell.lacks.insert(*lack),
                Outcome::NotRun => cell.not_run += 1,
            }
        }
        let row = |promise: &'static Promise| {
            let cell = |suite: &String| cells.remove(&(promise.group, suite.clone())).unwrap_or_default();
            (promise, self.suites.iter().map(cell).collect::<Vec<_>>())
        };
        PROMISES.iter().map(row).filter(|(_, cells)| cells.iter().any(|cell| *cell != Cell::default())).collect()
    }

    /// Formats the summary as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let heads = self.suites.iter().map(|suite| format!(" `{suite}` |"));
        let mut text = format!("| | promise |{}\n|---|---|{}\n", heads.collect::<String>(), "---|".repeat(self.suites.len()));
        for (promise, cells) in self.rows() {
            let cells: String = cells.iter().map(|cell| format!(" {cell} |")).collect();
            text += &format!("| `{}` | {} |{cells}\n", promise.group, promise.words);
        }
        text
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claims: Vec<_> =
            self.lacks.iter().filter_map(|lack| if let Lack::Claim(what) = lack { Some(*what) } else { None }).collect();
        let (failed, run) = (self.failed.len(), self.failed.len() + self.passed);
        let is_kept = self.passed > self.refused || self.refused > 0 && claims.is_empty();
        let verdict = match failed {
            0 if self.not_run > 0 => Some(format!("not run ({} of {} cases)", self.not_run, self.not_run + run)),
            0 => is_kept.then(|| "kept".to_owned()),
            _ => Some(format!("BROKEN ({failed} of {run} cases)")),
        };
        let not_claimed = (!claims.is_empty()).then(|| format!("not claimed: {}", claims.join(", ")));
        let others = self.lacks.iter().filter(|lack| !matches!(lack, Lack::Claim(_))).map(Lack::to_string);
        let parts: Vec<_> = verdict.into_iter().chain(not_claimed).chain(others).collect();
        f.write_str(&parts.join("; "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        for (at, suite) in self.suites.iter().enumerate() {
            let cells = rows.iter().map(|(promise, cells)| (promise, &cells[at]));
            let mut cells = cells.filter(|(_, cell)| **cell != Cell::default()).peekable();
            if cells.peek().is_some() {
                writeln!(f, "promises of {suite}:")?;
            }
            for (promise, cell) in cells {
                writeln!(f, "  {:<12} {cell}", promise.group)?;
                cell.failed.iter().try_for_each(|case| writeln!(f, "  {:<12}   {suite}::{case}", ""))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;
    use crate::need;
    use lock_core::{Backend, Error};

    fn suite(scheme: &'static str) -> Arc<Suite> {
        let backend = Backend::new(scheme, "lock-conformance", "", |_, _| Err(Error::unsupported("a test")));
        Arc::new(Suite::new(backend, |_| String::new()))
    }

    fn case(name: &str) -> &'static Case {
        cases::all().find(|case| case.name == name).expect("the case exists")
    }

    #[test]
    fn a_summary_distinguishes_kept_broken_unclaimed_and_not_run() {
        let (first, second) = (suite("first"), suite("second"));
        let report = Report::new(&[Arc::clone(&first), Arc::clone(&second)]);
        report.note(&first, case("reconciling::nothing_given_frees_everything"), Outcome::Failed);
        report.note(&first, case("breaking::breaking_is_refused_and_changes_nothing"), Outcome::Passed);
        report.note(&first, case("breaking::a_waiter_gets_a_lock_that_is_broken"), Outcome::Skipped(need::BREAKING.lack));
        report.note(&second, case("damage::every_truncation_is_refused"), Outcome::Passed);
        report.note(&second, case("damage::a_file_of_another_owner_is_refused"), Outcome::Skipped(need::ROOT.lack));
        let text = report.to_string();
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[0], "promises of first:");
        assert!(lines.contains(&"reconciling BROKEN (1 of 1 cases)".to_owned()), "{text}");
        assert!(lines.contains(&"breaking not claimed: break".to_owned()), "{text}");
        assert!(lines.contains(&"damage kept; this machine lacks: root".to_owned()), "{text}");
        assert!(report.markdown().contains("| `damage` |"), "{}", report.markdown());
        assert_eq!(report.count(), 3);
    }
}

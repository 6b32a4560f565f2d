//! A row of the result.

use crate::promise::Promise;
use crate::unit::Unit;

/// A median and its quartiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

/// Our figure, the peer's figure, and the promise.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// `None` if it could not be measured; then the note has the reason.
    pub(crate) ours: Option<Spread>,
    pub(crate) peer: Option<(String, Spread)>,
    pub(crate) ratio: Option<Spread>,
    pub(crate) promise: Option<Promise>,
    pub(crate) note: Option<String>,
}

impl Row {
    /// A row with the figures of all rounds.
    pub(crate) fn new(group: &'static str, name: impl Into<String>, unit: Unit, ours: &[f64]) -> Self {
        let ours = Spread::of(ours);
        Self { group, name: name.into(), unit, ours, peer: None, ratio: None, promise: None, note: None }
    }

    /// A row without figures, with the reason.
    pub(crate) fn unmeasured(group: &'static str, name: impl Into<String>, unit: Unit, why: impl Into<String>) -> Self {
        Self::new(group, name, unit, &[]).note(why)
    }

    /// Adds the figures of the peer in the same rounds. `ours` is repeated for the ratios of each round.
    pub(crate) fn against(mut self, peer: impl Into<String>, ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<_> = ours.iter().zip(theirs).filter(|(_, theirs)| **theirs != 0.0).map(|(a, b)| a / b).collect();
        self.ratio = Spread::of(&ratios);
        self.peer = Spread::of(theirs).map(|theirs| (peer.into(), theirs));
        self
    }

    pub(crate) fn promise(mut self, promise: Promise) -> Self {
        self.promise = Some(promise);
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// A unique name for the row.
    pub(crate) fn title(&self) -> String {
        let peer = self.peer.as_ref().map_or_else(String::new, |(peer, _)| format!(", against {peer}"));
        format!("{}: {}{peer}", self.group, self.name)
    }

    pub(crate) fn is_met(&self) -> Option<bool> {
        let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
        self.promise?.is_met(median(self.ours), median(self.ratio))
    }
}

impl Spread {
    /// Computes the spread; `None` without values.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |part| quantile(&values, part);
        Some(Self { low: at(0.25)?, median: at(0.5)?, high: at(0.75)? })
    }
}

/// Returns a quantile of sorted values.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    Some(sorted[(last as f64 * part).round() as usize])
}

//! The state of the live view: the locks, their order, the selected one, and what the user typed.

use std::cmp::Ordering;
use std::time::Duration;

use lock_any::LockId;

use super::keys::{Action, Motion};
use super::reader::{Reading, Sample};
use super::row::Row;

/// The order of the locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sort {
    /// The most urgent condition first; of the same condition, the longest wait, the longest hold and the most waiters.
    Trouble,
    Id,
    HeldFor,
    Waiters,
    LongestWait,
    Label,
}

impl Sort {
    /// Returns the name for the user.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Id => "id",
            Self::HeldFor => "held for",
            Self::Waiters => "waiters",
            Self::LongestWait => "longest wait",
            Self::Label => "label",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Trouble => Self::Id,
            Self::Id => Self::HeldFor,
            Self::HeldFor => Self::Waiters,
            Self::Waiters => Self::LongestWait,
            Self::LongestWait => Self::Label,
            Self::Label => Self::Trouble,
        }
    }

    fn compare(self, one: &Row, other: &Row) -> Ordering {
        match self {
            Self::Trouble => one.condition.cmp(&other.condition).then_with(|| weight(other).cmp(&weight(one))),
            Self::Id => Ordering::Equal,
            Self::HeldFor => other.held_for.cmp(&one.held_for),
            Self::Waiters => other.waiters.cmp(&one.waiters),
            Self::LongestWait => other.longest_wait.cmp(&one.longest_wait),
            // Locks without a label last.
            Self::Label => (one.label.is_empty(), &one.label).cmp(&(other.label.is_empty(), &other.label)),
        }
        .then(one.id.cmp(&other.id))
    }
}

fn weight(row: &Row) -> (Option<Duration>, Option<Duration>, Option<u32>) {
    (row.longest_wait, row.held_for, row.waiters)
}

/// The explanation of a lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Explanation {
    pub(crate) id: LockId,
    pub(crate) lines: Vec<String>,
}

/// What the reader should do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Wanted {
    /// The lock to explain.
    pub(crate) explained: Option<LockId>,
    pub(crate) is_paused: bool,
}

/// The state of the live view.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) store: String,
    pub(crate) interval: Duration,
    pub(crate) sample: Sample,
    /// Why the store cannot be read now. The sample is an earlier one then.
    pub(crate) lost: Option<String>,
    /// The positions in the sample of the locks that the filter admits, in the order of the view.
    order: Vec<usize>,
    /// `None` selects the first lock, whichever it is.
    selected: Option<LockId>,
    /// The position of the selected lock in the last order, for when it disappears.
    position: usize,
    pub(crate) sort: Sort,
    pub(crate) is_reversed: bool,
    pub(crate) filter: String,
    /// Whether keys are characters of the filter.
    pub(crate) is_typing: bool,
    pub(crate) has_details: bool,
    pub(crate) explanation: Option<Explanation>,
    pub(crate) is_paused: bool,
    pub(crate) has_help: bool,
    /// The number of lines that the screen has for locks.
    page: usize,
    /// The position of the first lock on the screen.
    top: usize,
}

impl Model {
    pub(crate) fn new(store: String, interval: Duration, sample: Sample) -> Self {
        let mut model = Self {
            store,
            interval,
            sample,
            lost: None,
            order: Vec::new(),
            selected: None,
            position: 0,
            sort: Sort::Trouble,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            has_details: false,
            explanation: None,
            is_paused: false,
            has_help: false,
            page: 1,
            top: 0,
        };
        model.arrange();
        model
    }

    /// Takes the result of a reading.
    pub(crate) fn read(&mut self, reading: Reading) {
        match reading {
            Reading::Sample(sample) => {
                self.sample = sample;
                self.lost = None;
                self.arrange();
            }
            Reading::Lost(reason) => self.lost = Some(reason),
        }
    }

    /// Takes an explanation. One that comes too late, for a lock that is no longer selected, is dropped.
    pub(crate) fn explain(&mut self, explanation: Explanation) {
        if self.wanted().explained == Some(explanation.id) {
            self.explanation = Some(explanation);
        }
    }

    /// Does what a key means. Returns false if the view ends.
    pub(crate) fn act(&mut self, action: Action) -> bool {
        // Any key closes the help.
        if std::mem::take(&mut self.has_help) {
            return true;
        }
        match action {
            Action::Quit => return false,
            Action::Move(motion) => self.step(motion),
            Action::Sort => self.sort = self.sort.next(),
            Action::Reverse => self.is_reversed = !self.is_reversed,
            Action::Details => self.has_details = !self.has_details,
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Help => self.has_help = true,
            Action::StartFilter => self.is_typing = true,
            Action::Type(character) => self.filter.push(character),
            Action::Erase => drop(self.filter.pop()),
            Action::EndFilter => self.is_typing = false,
            Action::ClearFilter => {
                self.filter.clear();
                self.is_typing = false;
            }
        }
        self.arrange();
        if self.explanation.as_ref().map(|explanation| explanation.id) != self.wanted().explained {
            self.explanation = None;
        }
        true
    }

    /// Returns what the reader should do now.
    pub(crate) fn wanted(&self) -> Wanted {
        let explained = self.selected_row().filter(|_| self.has_details).map(|row| row.id);
        Wanted { explained, is_paused: self.is_paused }
    }

    /// Sets the number of locks that fit on the screen. Returns the locks on the screen, and the position of the selected one among them.
    pub(crate) fn window(&mut self, page: usize) -> (Vec<&Row>, Option<usize>) {
        self.page = page.max(1);
        let least = (self.position + 1).saturating_sub(self.page);
        self.top = self.top.clamp(least, self.position).min(self.order.len().saturating_sub(self.page));
        let shown = self.order.iter().skip(self.top).take(page);
        let rows: Vec<_> = shown.map(|index| &self.sample.rows[*index]).collect();
        let selected = self.position - self.top;
        let selected = (selected < rows.len()).then_some(selected);
        (rows, selected)
    }

    /// Returns the number of locks that the filter admits.
    pub(crate) fn admitted(&self) -> usize {
        self.order.len()
    }

    /// Returns the selected lock.
    pub(crate) fn selected_row(&self) -> Option<&Row> {
        self.order.get(self.position).map(|index| &self.sample.rows[*index])
    }

    fn step(&mut self, motion: Motion) {
        let last = self.order.len().saturating_sub(1);
        let position = match motion {
            Motion::Up => self.position.saturating_sub(1),
            Motion::Down => self.position + 1,
            Motion::PageUp => self.position.saturating_sub(self.page),
            Motion::PageDown => self.position + self.page,
            Motion::Home => 0,
            Motion::End => last,
        };
        self.position = position.min(last);
        // The selection of the first line stays on the first line, which has the worst trouble.
        self.selected = if self.position == 0 { None } else { self.selected_row().map(|row| row.id) };
    }

    /// Sorts and filters the locks, and finds the selected one again.
    fn arrange(&mut self) {
        let rows = &self.sample.rows;
        let words: Vec<_> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let mut order: Vec<_> = (0..rows.len()).filter(|index| matches(&rows[*index], &words)).collect();
        order.sort_by(|one, other| self.sort.compare(&rows[*one], &rows[*other]));
        if self.is_reversed {
            order.reverse();
        }
        let position = self.selected.map(|id| order.iter().position(|index| rows[*index].id == id));
        self.position = match position {
            None => 0,
            Some(Some(position)) => position,
            Some(None) => self.position.min(order.len().saturating_sub(1)),
        };
        self.order = order;
        if self.selected.is_some() {
            self.selected = self.selected_row().map(|row| row.id);
        }
    }
}

/// Returns whether each word is part of the id, the state, the label, or the pid, tid, host or command of the holder.
fn matches(row: &Row, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let mut texts = vec![row.id.to_string(), row.condition.to_string(), row.label.to_lowercase()];
    if let Some(holder) = &row.holder {
        texts.extend([holder.pid.to_string(), holder.tid.to_string(), holder.command.to_lowercase()]);
        texts.extend(holder.host.as_ref().map(|host| host.to_lowercase()));
    }
    words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;

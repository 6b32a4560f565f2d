//! A table that is written while its rows are read.
//!
//! The columns are as wide as in the first rows. A later cell that is wider moves the rest of its row to the right.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::mem;
use std::time::{Duration, SystemTime};

use lock_any::Holder;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::row::{Row, State};
use super::span::span;
use crate::output::{self, escaped};

/// The number of rows that determine the widths of the columns.
const FIRST: usize = 1024;

const COLUMNS: usize = 9;
const TITLES: [&str; COLUMNS] = ["ID", "STATE", "HELD BY", "HELD FOR", "WAITERS", "LABEL", "ALLOCATED", "ALLOCATED BY", "ALIVE"];
/// Columns of numbers, aligned to the right.
const RIGHT: [bool; COLUMNS] = [true, false, false, true, true, false, false, false, false];
/// Columns of texts, which a narrow terminal cuts.
const CUT: [usize; 3] = [7, 2, 5];
/// The smallest width of a text that is cut.
const SMALLEST: usize = 10;
const GAP: usize = 2;

type Cells = [String; COLUMNS];

/// A table with the columns of a listing.
pub(super) struct Table<W> {
    out: W,
    /// The width of the terminal; `None` without a limit.
    limit: Option<usize>,
    now: Duration,
    /// The first rows, until the widths are known.
    first: Vec<Cells>,
    widths: Option<[usize; COLUMNS]>,
    cells: Cells,
    line: String,
}

impl<W: Write> Table<W> {
    /// Creates a table that is at most `limit` columns of characters wide.
    pub(super) fn new(out: W, limit: Option<usize>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { out, limit, now, first: Vec::new(), widths: None, cells: Cells::default(), line: String::new() }
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: &Row) -> io::Result<()> {
        let mut cells = mem::take(&mut self.cells);
        cells.iter_mut().for_each(String::clear);
        fill(&mut cells, row, self.now);
        match self.widths {
            Some(widths) => {
                self.write(&cells, &widths, "")?;
                self.cells = cells;
            }
            None => {
                self.first.push(cells);
                if self.first.len() == FIRST {
                    self.begin()?;
                }
            }
        }
        Ok(())
    }

    /// Writes the rest.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.widths.is_none() { self.begin() } else { Ok(()) }
    }

    /// Writes the titles and the first rows.
    fn begin(&mut self) -> io::Result<()> {
        let rows = mem::take(&mut self.first);
        let widths = widths(&rows, self.limit);
        self.widths = Some(widths);
        let bold = if output::is_bold() { "\u{1b}[1m" } else { "" };
        self.write(&TITLES.map(str::to_owned), &widths, bold)?;
        rows.iter().try_for_each(|cells| self.write(cells, &widths, ""))
    }

    fn write(&mut self, cells: &Cells, widths: &[usize; COLUMNS], style: &str) -> io::Result<()> {
        self.line.clear();
        let mut at = 0;
        for (column, cell) in cells.iter().enumerate() {
            let is_cut = self.limit.is_some() && CUT.contains(&column);
            let (text, width) = if is_cut { cut(cell, widths[column]) } else { (cell.as_str(), width_of(cell)) };
            let is_shorter = text.len() < cell.len();
            let width = width + usize::from(is_shorter);
            let padding = widths[column].saturating_sub(width);
            let (before, after) = if RIGHT[column] { (padding, 0) } else { (0, padding) };
            pad(&mut self.line, before);
            self.line.push_str(text);
            if is_shorter {
                self.line.push('…');
            }
            pad(&mut self.line, after + GAP);
            at += width.max(widths[column]) + GAP;
        }
        at -= GAP;
        self.line.truncate(self.line.trim_end().len());
        if let Some(limit) = self.limit.filter(|limit| at > *limit && width_of(&self.line) > *limit) {
            let kept = cut(&self.line, limit).0.len();
            self.line.truncate(kept);
            self.line.push('…');
        }
        let reset = if style.is_empty() { "" } else { "\u{1b}[0m" };
        self.out.write_all(style.as_bytes())?;
        self.out.write_all(self.line.as_bytes())?;
        self.out.write_all(reset.as_bytes())?;
        self.out.write_all(b"\n")
    }
}

fn pad(line: &mut String, count: usize) {
    const BLANKS: &str = "                                ";
    let mut count = count;
    while count > 0 {
        let step = count.min(BLANKS.len());
        line.push_str(&BLANKS[..step]);
        count -= step;
    }
}

/// Returns the width of a text without control characters.
fn width_of(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// Returns the start of a text and its width. If the text is wider than the limit, there is room for a mark after it.
fn cut(text: &str, limit: usize) -> (&str, usize) {
    let whole = width_of(text);
    if whole <= limit {
        return (text, whole);
    }
    let mut width = 0;
    for (at, c) in text.char_indices() {
        let wider = width + c.width().unwrap_or(0);
        if wider >= limit {
            return (&text[..at], width);
        }
        width = wider;
    }
    (text, width)
}

/// Returns the widths of the columns, so that the table fits if the texts can be cut that far.
fn widths(rows: &[Cells], limit: Option<usize>) -> [usize; COLUMNS] {
    let mut widths = TITLES.map(str::len);
    for cells in rows {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(width_of(cell));
        }
    }
    let Some(limit) = limit else { return widths };
    loop {
        let excess = (widths.iter().sum::<usize>() + GAP * (COLUMNS - 1)).saturating_sub(limit);
        // The widest text becomes as wide as the next one first, so that short texts stay whole.
        let mut texts = CUT.map(|column| (widths[column], column));
        texts.sort_unstable();
        let [.., (second, _), (widest, column)] = texts;
        let floor = SMALLEST.max(TITLES[column].len());
        if excess == 0 || widest <= floor {
            return widths;
        }
        let step = if widest > second { widest - second } else { 1 };
        widths[column] = (widest - step.min(excess)).max(floor);
    }
}

fn fill(cells: &mut Cells, row: &Row, now: Duration) {
    let [id, state, holder, held_for, waiters, label, allocated, allocator, lives] = cells;
    let _ = write!(id, "{}", row.id);
    state.push_str(row.state.as_str());
    held_by(holder, row);
    if let Some(duration) = row.held_for_at_least {
        let _ = write!(held_for, "≥ {}", span(duration));
    }
    if let Some(count) = row.waiters {
        let _ = write!(waiters, "{count}");
        if let Some(longest) = row.longest_wait.filter(|_| count > 0) {
            let _ = write!(waiters, " ({})", span(longest));
        }
    }
    label.push_str(&escaped(row.label.as_str()));
    match (row.allocated, row.since) {
        (false, _) => allocated.push_str("no"),
        (true, None) => allocated.push_str("yes"),
        (true, Some(since)) => {
            let _ = write!(allocated, "{} ago", span(now.saturating_sub(Duration::from_secs(since))));
        }
    }
    if let Some(process) = &row.allocator {
        name(allocator, process);
        lives.push_str(match row.allocator_lives {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        });
    }
}

fn held_by(cell: &mut String, row: &Row) {
    let dead = row.death.as_ref().and_then(|death| death.holder.as_ref());
    if let Some(holder) = row.holder.as_ref().or(dead) {
        name(cell, holder);
    }
    match (row.state, &row.doubt) {
        (State::DeadHolder, _) => cell.push_str(" (dead)"),
        (State::Inconsistent, _) => {
            let cause = row.death.as_ref().map(|death| death.cause.to_string());
            let _ = write!(cell, " ({})", cause.unwrap_or_default());
        }
        (_, Some(doubt)) => {
            // The rest of the text explains it.
            let short = doubt.split("; ").next().and_then(|text| text.split(": ").next()).unwrap_or_default();
            let blank = if cell.is_empty() { "" } else { " " };
            let _ = write!(cell, "{blank}({})", escaped(short));
        }
        (State::Held, None) if row.holder.is_none() => cell.push_str("(not recorded)"),
        _ => {}
    }
}

/// Writes the process, the thread, the host and the command of a holder. Numbers that are unknown are 0.
fn name(cell: &mut String, holder: &Holder) {
    match (holder.pid, holder.tid) {
        (0, 0) => cell.push('?'),
        (0, tid) => {
            let _ = write!(cell, "?/{tid}");
        }
        (pid, tid) if tid == 0 || tid == pid => {
            let _ = write!(cell, "{pid}");
        }
        (pid, tid) => {
            let _ = write!(cell, "{pid}/{tid}");
        }
    }
    if let Some(host) = &holder.host {
        let _ = write!(cell, "@{}", escaped(host));
    }
    if !holder.command.is_empty() {
        let _ = write!(cell, " {}", escaped(&holder.command));
    }
}

#[cfg(test)]
mod tests {
    use lock_any::LockId;
    use rstest::rstest;

    use super::*;

    fn row(id: u32, command: &str) -> Row {
        let holder = Holder::of_process(12_345).with_command(command);
        Row { state: State::Held, held: Some(true), holder: Some(holder), ..Row::new(LockId::new(id)) }
    }

    fn text(limit: Option<usize>, rows: impl IntoIterator<Item = Row>) -> Vec<String> {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, limit);
        rows.into_iter().for_each(|row| table.push(&row).unwrap());
        table.finish().unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[rstest]
    #[case("abc", 3, "abc")]
    #[case("abcd", 3, "ab")]
    #[case("日本語", 6, "日本語")]
    #[case("日本語", 5, "日本")]
    #[case("日本語", 4, "日")]
    fn a_text_is_cut_before_the_limit(#[case] text: &str, #[case] limit: usize, #[case] left: &str) {
        assert_eq!(cut(text, limit).0, left);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for limit in [20, 60, 80, 120, 200] {
            let rows = [row(1, &"x".repeat(300)), row(2, "日本".repeat(80).as_str()), row(3, "short")];
            for line in text(Some(limit), rows) {
                assert!(line.width() <= limit, "{limit}: {line}");
            }
        }
    }

    #[test]
    fn a_cut_text_ends_with_a_mark_and_a_short_one_is_whole() {
        let lines = text(Some(100), [row(1, &"x".repeat(300)), row(2, "short")]);
        assert!(lines[1].contains("xxx…") && lines[2].contains("12345 short"), "{lines:?}");
        let lines = text(None, [row(1, &"x".repeat(300))]);
        assert!(lines[1].contains(&"x".repeat(300)), "{lines:?}");
    }

    #[test]
    fn rows_after_the_first_ones_are_written_in_order() {
        let count = 3 * FIRST as u32;
        let lines = text(None, (0..count).map(|id| row(id, "make")));
        assert_eq!(lines.len() as u32, count + 1);
        let ids: Vec<u32> = lines[1..].iter().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
        assert!(ids.into_iter().eq(0..count));
    }
}

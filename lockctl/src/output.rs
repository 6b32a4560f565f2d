//! Output: messages on stderr, tables and JSON on stdout. Control characters of a store's contents are escaped.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::sys;

/// Writes one line to stderr, with the name of the program in front. One system call writes it, so lines of several processes do not mix.
pub(crate) fn message(message: impl Display) {
    let message = message.to_string();
    let line = format!("lockctl: {}\n", escaped(&message));
    // An error is ignored: there is no other place for a message.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Writes text to stdout.
pub(crate) fn print(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref())?;
    stdout.flush()
}

/// Writes a value as JSON to stdout.
pub(crate) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    print(text)
}

/// Returns whether titles are bold: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn is_bold() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns the width of the terminal on stdout, in characters. `None` if stdout is not a terminal.
///
/// The variable `COLUMNS` has precedence over the terminal's own answer.
pub(crate) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    columns.or_else(|| sys::columns(io::stdout())).or(Some(80))
}

/// Escapes control characters as `\n`, `\u{1b}` and so on.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain || !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if is_unsafe(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Whether the character is a control character or changes the direction of text.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A table: with rules and bold titles on a terminal, plain columns elsewhere.
pub(crate) struct Rows {
    table: Table,
}

impl Rows {
    /// A table with these column titles.
    pub(crate) fn new(titles: &[&str]) -> Self {
        let mut table = Table::new();
        let terminal = io::stdout().is_terminal();
        table.load_style(if terminal { presets::UTF8_HORIZONTAL_ONLY } else { presets::NOTHING });
        table.set_content_arrangement(if terminal { ContentArrangement::Dynamic } else { ContentArrangement::Disabled });
        let bold = is_bold();
        table.set_header(titles.iter().map(|title| match bold {
            true => Cell::new(title).add_attribute(Attribute::Bold),
            false => Cell::new(title),
        }));
        Self { table }
    }

    /// Aligns these columns to the right, for numbers.
    pub(crate) fn right(mut self, columns: &[usize]) -> Self {
        for &column in columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// Adds a row.
    pub(crate) fn push<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(cells.into_iter().map(|cell| escaped(cell.as_ref()).into_owned()));
    }

    /// Writes the table to stdout.
    pub(crate) fn print(&self) -> io::Result<()> {
        let mut text = String::new();
        for line in self.table.to_string().lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        print(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_escaped() {
        assert_eq!(escaped("a\u{1b}[31m\nb\u{202e}c\u{7f}"), "a\\u{1b}[31m\\nb\\u{202e}c\\u{7f}");
        assert_eq!(escaped("a \\ pod \"ä\" 日本"), "a \\ pod \"ä\" 日本");
    }
}

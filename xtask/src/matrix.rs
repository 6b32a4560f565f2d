//! `matrix`: generates the table of capabilities in README.md.

use std::fs;
use std::path::PathBuf;

use lock_any::{Backend, Capabilities};

use crate::Result;
use crate::shell::root;

const BEGIN: &str = "<!-- matrix: written by `cargo xtask matrix` -->\n";
const END: &str = "<!-- /matrix -->";

/// Writes the table.
pub(crate) fn run() -> Result<()> {
    let (_, wanted) = texts()?;
    Ok(fs::write(path(), wanted)?)
}

/// Checks that the table is up to date.
pub(crate) fn check() -> Result<()> {
    let (readme, wanted) = texts()?;
    if readme == wanted { Ok(()) } else { Err("README.md: the table is out of date; run `cargo xtask matrix`".into()) }
}

/// The text of README.md, and with a new table.
fn texts() -> Result<(String, String)> {
    let readme = fs::read_to_string(path())?;
    let wanted = with_table(&readme, &table(&lock_any::backends()?))?;
    Ok((readme, wanted))
}

fn path() -> PathBuf {
    root().join("README.md")
}

/// Replaces the table between its marks.
fn with_table(text: &str, table: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).ok_or_else(|| format!("README.md has no line {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("README.md has no {END:?}"))?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// Formats the table: a column for each backend, a row for each capability.
fn table(backends: &[Backend]) -> String {
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(backends.iter().map(|backend| format!("`{}`", backend.scheme())));
    lines.push(vec!["---".to_owned(); backends.len() + 1]);
    for (at, (title, _)) in Capabilities::minimal().rows().into_iter().enumerate() {
        let claims = backends.iter().map(|backend| backend.capabilities().rows()[at].1.to_owned());
        lines.push(std::iter::once(title.to_owned()).chain(claims).collect());
    }
    lines.iter().map(|cells| format!("| {} |\n", cells.join(" | "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_marks_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}\nb\n");
        let new = with_table(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}\nb\n"));
        assert_eq!(with_table(&new, "new\n").unwrap(), new);
        assert!(with_table("no marks", "new\n").is_err());
    }

    #[test]
    fn the_table_has_a_row_for_each_claim_and_a_column_for_each_backend() {
        let backends = lock_any::backends().unwrap();
        let table = table(&backends);
        assert_eq!(table.lines().count(), 2 + Capabilities::minimal().rows().len());
        assert!(table.lines().all(|line| line.matches('|').count() == backends.len() + 2), "{table}");
    }
}

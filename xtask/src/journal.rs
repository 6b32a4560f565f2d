//! A file of result lines, so that a long command can run in parts.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::Result;

/// The file of the lines; `None` if they are not kept.
#[derive(Clone)]
pub(crate) struct Journal(Option<PathBuf>);

impl Journal {
    /// Opens a journal and parses its lines. An absent file has no lines.
    pub(crate) fn open<T>(file: Option<&Path>, parse: impl Fn(&str) -> Option<T>) -> Result<(Self, Vec<T>)> {
        let text = match file.map(fs::read_to_string) {
            None => String::new(),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => String::new(),
            Some(text) => text?,
        };
        let lines = text.lines().map(|line| parse(line).ok_or_else(|| format!("the state file has an invalid line: {line:?}")));
        Ok((Self(file.map(Path::to_owned)), lines.collect::<Result<_, _>>()?))
    }

    pub(crate) fn add(&self, line: &str) -> io::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        fs::File::options().append(true).create(true).open(file)?.write_all(format!("{line}\n").as_bytes())
    }
}

//! A file to which lines are added, so that what takes long can be done in parts.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::Result;

/// Where the lines go, if they are to be kept.
#[derive(Clone)]
pub(crate) struct Journal(Option<PathBuf>);

impl Journal {
    /// With what its lines say; the file need not be there.
    pub(crate) fn open<T>(file: Option<&Path>, parse: impl Fn(&str) -> Option<T>) -> Result<(Self, Vec<T>)> {
        let text = match file.map(fs::read_to_string) {
            None => String::new(),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => String::new(),
            Some(text) => text?,
        };
        let lines = text.lines().map(|line| parse(line).ok_or_else(|| format!("the state has a line that is none: {line:?}")));
        Ok((Self(file.map(Path::to_owned)), lines.collect::<Result<_, _>>()?))
    }

    pub(crate) fn add(&self, line: &str) -> io::Result<()> {
        let Some(file) = &self.0 else { return Ok(()) };
        fs::File::options().append(true).create(true).open(file)?.write_all(format!("{line}\n").as_bytes())
    }
}

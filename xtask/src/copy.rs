//! A copy of the repository for planted changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::metadata::Metadata;
use crate::shell;

/// A planted change: a text of a source file, and its replacement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    /// A short name.
    pub(crate) name: &'a str,
    /// The file, from the root of the repository.
    pub(crate) file: &'a str,
    /// The text to replace. It occurs once in the file.
    pub(crate) find: &'a str,
    /// The replacement.
    pub(crate) replace: &'a str,
}

impl Change<'_> {
    /// Changes the text of the file.
    ///
    /// # Errors
    /// The text does not occur exactly once.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        match text.matches(self.find).count() {
            1 => Ok(text.replacen(self.find, self.replace, 1)),
            times => {
                let Self { name, file, find, .. } = self;
                Err(format!(
                    "the text of the change {name:?} occurs {times} times in {file}, not once; update the change:\n{find}"
                )
                .into())
            }
        }
    }
}

/// Reads a file of the repository.
pub(crate) fn read(file: &str) -> Result<String> {
    Ok(fs::read_to_string(shell::root().join(file)).map_err(|error| format!("{file}: {error}"))?)
}

/// Applies changes to the files of the repository. Returns each changed file with its text.
///
/// # Errors
/// Lists all changes whose text does not occur exactly once.
pub(crate) fn changed<'a>(changes: impl IntoIterator<Item = Change<'a>>) -> Result<Vec<(&'a str, String)>> {
    let mut files: Vec<(&str, String)> = Vec::new();
    let mut lost = Vec::new();
    for change in changes {
        let at = match files.iter().position(|(file, _)| *file == change.file) {
            Some(at) => at,
            None => {
                files.push((change.file, read(change.file)?));
                files.len() - 1
            }
        };
        match change.apply(&files[at].1) {
            Ok(text) => files[at].1 = text,
            Err(error) => lost.push(error.to_string()),
        }
    }
    if lost.is_empty() { Ok(files) } else { Err(lost.join("\n").into()) }
}

/// A copy of the repository and its build.
pub(crate) struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Copies the files that git tracks or would track into a directory of this name in cargo's target directory.
    pub(crate) fn of_repository(name: &str) -> Result<Self> {
        let home = Metadata::load()?.target()?.join(name);
        let copy = Self { root: home.join("copy"), target: home.join("target") };
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let tracked = shell::read(Command::new("git").current_dir(shell::root()).args(list))?;
        for name in tracked.split('\0').filter(|name| !name.is_empty()) {
            let path = shell::root().join(name);
            if path.is_symlink() {
                copy.link(name, &fs::read_link(path)?)?;
            } else if path.is_file() {
                copy.write(name, &fs::read(path)?)?;
            }
        }
        Ok(copy)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a command run in the copy, with a target directory of the copy.
    pub(crate) fn enter(&self, command: &mut Command) {
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
    }

    /// Writes a file. Leaves an identical file alone, so that cargo does not rebuild it.
    pub(crate) fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(file);
        if fs::read(&path).is_ok_and(|before| before == bytes) {
            return Ok(());
        }
        fs::create_dir_all(path.parent().ok_or("a file is in a directory")?)?;
        Ok(fs::write(path, bytes)?)
    }

    /// Creates a symbolic link.
    fn link(&self, file: &str, to: &Path) -> Result<()> {
        let path = self.root.join(file);
        if fs::read_link(&path).is_ok_and(|before| before == to) {
            return Ok(());
        }
        fs::create_dir_all(path.parent().ok_or("a link is in a directory")?)?;
        Ok(symlink(to, path)?)
    }

    /// Restores a file from the repository.
    pub(crate) fn restore(&self, file: &str) -> Result<()> {
        self.write(file, read(file)?.as_bytes())
    }
}

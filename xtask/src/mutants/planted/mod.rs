//! The planted changes as data: the text to find, its replacement, and the promise that the change breaks.

mod core;
mod file;
mod sem;
mod shm;
mod table;

use crate::copy::Change;

/// A wrong change that a test has to detect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutation {
    /// A short name, for `--only` and the table.
    pub(crate) name: &'static str,
    /// The file, from the root of the repository.
    pub(crate) file: &'static str,
    /// The text to replace. It occurs once in the file.
    pub(crate) find: &'static str,
    /// The replacement.
    pub(crate) replace: &'static str,
    /// The promise that it breaks.
    pub(crate) breaks: &'static str,
    /// The schemes of the backends whose suites may detect it, likeliest first.
    pub(crate) backends: &'static [&'static str],
    /// The scenario of the model that detects it, if the tests cannot explore enough states.
    pub(crate) scenario: Option<&'static str>,
    /// The reason why it may remain undetected.
    pub(crate) excuse: Option<&'static str>,
}

impl Mutation {
    pub(crate) fn change(&self) -> Change<'static> {
        Change { name: self.name, file: self.file, find: self.find, replace: self.replace }
    }

    /// Returns the crate of the file.
    pub(crate) fn package(&self) -> &'static str {
        self.file.split('/').next().unwrap_or_default()
    }
}

/// Returns all planted changes.
pub(crate) fn all() -> impl Iterator<Item = &'static Mutation> {
    [shm::PLANTED, table::PLANTED, core::PLANTED, file::PLANTED, sem::PLANTED].into_iter().flatten().copied().flatten()
}

/// The changes of a file: name, backends, promise, and the two texts.
macro_rules! planted {
    ($file:literal: $($name:literal [$($backend:literal)+] $breaks:literal $(shown $scenario:literal)? $(because $excuse:literal)?; $find:literal => $replace:literal;)+) => {
        &[$($crate::mutants::planted::Mutation {
            name: $name,
            file: $file,
            find: $find,
            replace: $replace,
            breaks: $breaks,
            backends: &[$($backend),+],
            scenario: $crate::mutants::planted::maybe!($($scenario)?),
            excuse: $crate::mutants::planted::maybe!($($excuse)?),
        }),+]
    };
}

macro_rules! maybe {
    () => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

use {maybe, planted};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_changes_change_something() {
        let mut names: Vec<_> = all().map(|planted| planted.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(all().all(|planted| planted.find != planted.replace && !planted.backends.is_empty()));
    }

    #[test]
    fn the_scenarios_of_the_changes_exist() {
        let scenarios = lock_model::scenarios();
        for name in all().filter_map(|planted| planted.scenario) {
            assert!(scenarios.iter().any(|scenario| scenario.name == name), "{name}");
        }
    }
}

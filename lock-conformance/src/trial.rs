use std::fmt::Display;

use libtest_mimic::Completion;

/// A test of a test binary that runs with [`run_trials`](crate::run_trials): a case of a suite, or another test beside the suites.
#[derive(Debug)]
pub struct Trial(libtest_mimic::Trial);

impl Trial {
    /// Creates a test. It fails with the error that `run` returns, or if `run` panics.
    pub fn test<E: Display>(name: impl Into<String>, run: impl FnOnce() -> Result<(), E> + Send + 'static) -> Self {
        Self(libtest_mimic::Trial::test(name, move || Ok(run().map_err(|error| error.to_string())?)))
    }

    /// Creates a test that can decide while it runs that it is not run.
    pub(crate) fn deciding<E: Display>(
        name: impl Into<String>,
        run: impl FnOnce() -> Result<Completion, E> + Send + 'static,
    ) -> Self {
        Self(libtest_mimic::Trial::ignorable_test(name, move || Ok(run().map_err(|error| error.to_string())?)))
    }

    /// Skips the test, unless the command line asks for skipped tests. The listing shows the reason.
    #[must_use]
    pub fn skipped(self, reason: impl Into<String>) -> Self {
        Self(self.0.with_kind(reason).with_ignored_flag(true))
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Returns the reason if the test is skipped.
    pub fn skip_reason(&self) -> Option<&str> {
        self.0.has_ignored_flag().then(|| self.0.kind())
    }

    /// Returns true if the test is skipped.
    pub fn is_skipped(&self) -> bool {
        self.0.has_ignored_flag()
    }

    pub(crate) fn into_inner(self) -> libtest_mimic::Trial {
        self.0
    }

    pub(crate) fn inner(&self) -> &libtest_mimic::Trial {
        &self.0
    }
}

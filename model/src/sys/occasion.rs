//! The stand-in for a limit on the rate of costly checks.

/// A rate limit that allows every check.
#[derive(Debug, Default)]
pub(crate) struct Occasion {}

impl Occasion {
    pub(crate) fn is_due(&self, _: u64) -> bool {
        true
    }
}

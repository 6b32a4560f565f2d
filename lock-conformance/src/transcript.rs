use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The messages between suite and peers in a case, for the analysis of a failure.
pub(crate) struct Transcript {
    began: Instant,
    lines: Mutex<Vec<String>>,
}

/// Maximum length; only the end of a longer transcript is kept.
const SHOWN: usize = 300;

impl Transcript {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), lines: Mutex::default() }
    }

    pub(crate) fn note(&self, who: &str, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        let line = format!("{at:9.4} {who} {}", what.trim_end().replace('\t', " "));
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Returns the messages so far.
    pub(crate) fn progress(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let last = lines.last().map_or("none", |line| line.trim());
        format!("after {:.1} s, the last of {} messages was `{last}`", self.began.elapsed().as_secs_f64(), lines.len())
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = lines.len().saturating_sub(SHOWN);
        if left_out > 0 {
            writeln!(f, "  ({left_out} lines before these)")?;
        }
        lines.iter().skip(left_out).try_for_each(|line| writeln!(f, "  {line}"))
    }
}

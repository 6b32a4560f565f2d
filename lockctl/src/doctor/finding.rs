use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// Programs work, but an operator should check it.
    Warning,
    /// Programs fail, hang or do not exclude each other.
    Problem,
}

impl Severity {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    /// The name of the check, for scripts.
    pub(super) check: &'static str,
    pub(super) severity: Severity,
    pub(super) text: String,
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn warning(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, severity: Severity::Warning, text: text.into(), remedy: remedy.into() }
    }

    pub(super) fn problem(check: &'static str, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, ..Self::warning(check, text, remedy) }
    }
}

/// Formats a few items of a list, and the number of the others.
pub(super) fn few(items: &[String], count: u64) -> String {
    let more = count - items.len() as u64;
    let list = items.join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}

//! The unit of a figure.

/// The unit of a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
    PerSecond,
    /// A fraction from 0 to 1.
    Share,
    Count,
    /// A time, in units of the time for which each owner holds the lock.
    Holds,
    /// A time, in units of the time in which each of several threads holds the lock once.
    Turns,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
            Self::PerSecond => "ops/s",
            Self::Share => "share",
            Self::Count => "count",
            Self::Holds => "holds",
            Self::Turns => "turns",
        }
    }

    /// Formats the figure with a suitable prefix.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => scaled(value, 1e3, &["ns", "µs", "ms", "s"]),
            Self::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB"]),
            Self::PerSecond => scaled(value, 1e3, &["/s", "k/s", "M/s", "G/s"]),
            Self::Share => format!("{value:.2}"),
            Self::Count => format!("{value}"),
            Self::Holds => format!("{value:.2} holds"),
            Self::Turns => format!("{value:.2} turns"),
        }
    }
}

/// Formats a value with the largest unit that it reaches.
fn scaled(mut value: f64, step: f64, units: &[&str]) -> String {
    let mut at = 0;
    while value.abs() >= step && at + 1 < units.len() {
        value /= step;
        at += 1;
    }
    let digits = if value != 0.0 && value.abs() < 10.0 { 2 } else { usize::from(value != 0.0 && value.abs() < 100.0) };
    format!("{value:.digits$} {}", units[at])
}

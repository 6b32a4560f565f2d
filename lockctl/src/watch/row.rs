//! A lock as the live view shows it.

use std::fmt;
use std::time::Duration;

use lock_any::{Holder, LockId};
use serde::Serialize;

use crate::facts::seconds;

/// The state of a lock, the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    /// Its holder waits for a lock of a thread that waits for this one.
    Deadlock,
    /// Its holder is dead.
    Dead,
    /// No release will wake one of its waiters.
    LostWakeUp,
    /// Its holder is stopped, and others wait for it.
    Stopped,
    /// Its holder is not certain.
    Doubtful,
    /// A thread waits for it longer than the user's threshold.
    LongWait,
    /// It is held longer than the user's threshold.
    LongHold,
    /// It is held, and others wait for it.
    Contended,
    /// Its holder is stopped, and no thread waits for it.
    Suspended,
    /// It is held.
    Held,
    /// It is free, and the threads that wait for it are about to acquire it.
    Free,
}

impl Condition {
    /// Returns whether the lock needs attention.
    pub(crate) fn is_trouble(self) -> bool {
        self <= Self::LongHold
    }

    /// Returns its name, of at most 9 characters.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::Dead => "dead",
            Self::LostWakeUp => "lost wake",
            Self::Stopped | Self::Suspended => "stopped",
            Self::Doubtful => "doubtful",
            Self::LongWait => "long wait",
            Self::LongHold => "long hold",
            Self::Contended => "contended",
            Self::Held => "held",
            Self::Free => "free",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The times from which a hold and a wait are in trouble.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    pub(crate) hold: Duration,
    pub(crate) wait: Duration,
}

/// The facts that decide the condition of a lock.
#[derive(Default, Debug)]
pub(crate) struct Signs {
    pub(crate) is_cyclic: bool,
    pub(crate) is_dead: bool,
    pub(crate) is_stopped: bool,
    pub(crate) has_lost_waiter: bool,
    pub(crate) is_doubtful: bool,
    /// `None` if the backend does not know.
    pub(crate) held: Option<bool>,
    /// The time at least.
    pub(crate) held_for: Option<Duration>,
    /// `None` if the backend does not know.
    pub(crate) waiters: Option<u32>,
    /// The time at least.
    pub(crate) longest_wait: Option<Duration>,
}

impl Signs {
    /// Returns the most urgent condition that applies.
    pub(crate) fn condition(&self, thresholds: Thresholds) -> Condition {
        let reaches = |time: Option<Duration>, threshold| time.is_some_and(|time| time >= threshold);
        match self {
            _ if self.is_cyclic => Condition::Deadlock,
            _ if self.is_dead => Condition::Dead,
            _ if self.has_lost_waiter => Condition::LostWakeUp,
            // Threads that the backend does not know may wait.
            _ if self.is_stopped && self.waiters != Some(0) => Condition::Stopped,
            _ if self.is_doubtful => Condition::Doubtful,
            _ if reaches(self.longest_wait, thresholds.wait) => Condition::LongWait,
            _ if reaches(self.held_for, thresholds.hold) => Condition::LongHold,
            _ if self.held == Some(false) => Condition::Free,
            _ if self.waiters.is_some_and(|count| count > 0) => Condition::Contended,
            _ if self.is_stopped => Condition::Suspended,
            _ => Condition::Held,
        }
    }
}

/// A lock that is held or waited for.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: LockId,
    pub(crate) condition: Condition,
    pub(crate) label: String,
    pub(crate) holder: Option<Holder>,
    /// The reason why the holder is not certain, or not known.
    pub(crate) doubt: Option<String>,
    /// The time for which the holder has held the lock at least.
    #[serde(rename = "held_for_at_least", serialize_with = "seconds")]
    pub(crate) held_for: Option<Duration>,
    /// The number of waiting threads; `None` if the backend does not know.
    pub(crate) waiters: Option<u32>,
    /// The time for which a thread has waited at least.
    #[serde(serialize_with = "seconds")]
    pub(crate) longest_wait: Option<Duration>,
}

/// Formats a time of which only a lower bound is known, in its two largest units.
pub(crate) fn at_least(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("≥{}.{}s", seconds, time.subsec_millis() / 100),
        10..60 => format!("≥{seconds}s"),
        60..3600 => format!("≥{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("≥{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("≥{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const THRESHOLDS: Thresholds = Thresholds { hold: Duration::from_secs(10), wait: Duration::from_secs(1) };

    fn held() -> Signs {
        Signs { held: Some(true), waiters: Some(0), ..Signs::default() }
    }

    /// Signs with one sign more from each to the next, so that the later one wins.
    #[test]
    fn the_most_urgent_condition_wins() {
        let mut signs = held();
        assert_eq!(signs.condition(THRESHOLDS), Condition::Held);
        signs.is_stopped = true;
        assert_eq!(signs.condition(THRESHOLDS), Condition::Suspended);
        signs.is_stopped = false;
        signs.waiters = Some(2);
        assert_eq!(signs.condition(THRESHOLDS), Condition::Contended);
        signs.held_for = Some(THRESHOLDS.hold);
        assert_eq!(signs.condition(THRESHOLDS), Condition::LongHold);
        signs.longest_wait = Some(THRESHOLDS.wait);
        assert_eq!(signs.condition(THRESHOLDS), Condition::LongWait);
        signs.is_doubtful = true;
        assert_eq!(signs.condition(THRESHOLDS), Condition::Doubtful);
        signs.is_stopped = true;
        assert_eq!(signs.condition(THRESHOLDS), Condition::Stopped);
        signs.has_lost_waiter = true;
        assert_eq!(signs.condition(THRESHOLDS), Condition::LostWakeUp);
        signs.is_dead = true;
        assert_eq!(signs.condition(THRESHOLDS), Condition::Dead);
        signs.is_cyclic = true;
        assert_eq!(signs.condition(THRESHOLDS), Condition::Deadlock);
    }

    #[test]
    fn times_below_the_thresholds_are_no_trouble() {
        let mut signs = held();
        signs.held_for = Some(THRESHOLDS.hold - Duration::from_millis(1));
        signs.longest_wait = Some(THRESHOLDS.wait - Duration::from_millis(1));
        assert!(!signs.condition(THRESHOLDS).is_trouble());
    }

    #[test]
    fn a_stopped_holder_is_trouble_unless_no_thread_waits() {
        for (waiters, trouble) in [(None, true), (Some(1), true), (Some(0), false)] {
            let signs = Signs { is_stopped: true, waiters, ..held() };
            assert_eq!(signs.condition(THRESHOLDS).is_trouble(), trouble, "{waiters:?}");
            assert_eq!(signs.condition(THRESHOLDS).name(), "stopped");
        }
    }

    #[test]
    fn a_free_lock_with_waiters_is_about_to_be_acquired() {
        let signs = Signs { held: Some(false), waiters: Some(1), ..Signs::default() };
        assert_eq!(signs.condition(THRESHOLDS), Condition::Free);
        let lost = Signs { has_lost_waiter: true, ..signs };
        assert_eq!(lost.condition(THRESHOLDS), Condition::LostWakeUp);
    }

    #[rstest]
    #[case(0, "≥0.0s")]
    #[case(9_990, "≥9.9s")]
    #[case(10_000, "≥10s")]
    #[case(61_000, "≥1m01s")]
    #[case(3_599_999, "≥59m59s")]
    #[case(7_260_000, "≥2h01m")]
    #[case(90_000_000, "≥1d01h")]
    fn a_bound_has_its_two_largest_units(#[case] milliseconds: u64, #[case] text: &str) {
        assert_eq!(at_least(Duration::from_millis(milliseconds)), text);
    }
}

//! The promises as numbers. docs/performance.md explains the rows.

use std::time::Duration;

/// A bound on what a row measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Promise {
    /// Upper bound of the ratio to the peer.
    RatioAtMost(f64),
    /// Lower bound of the ratio to the peer.
    RatioAtLeast(f64),
    /// Upper bound of the figure, in the row's unit.
    AtMost(f64),
    /// Lower bound of the figure, in the row's unit.
    AtLeast(f64),
}

use Promise::{AtLeast, AtMost, RatioAtLeast, RatioAtMost};

pub(crate) const SHM_TO_ROBUST: Promise = RatioAtMost(0.6);
pub(crate) const SHM_TO_BARE: Promise = RatioAtMost(1.15);
/// Relative to a guard of the thread.
pub(crate) const SEND_TO_BORROWED: Promise = RatioAtMost(2.5);
/// Relative to a guard that borrows its handle.
pub(crate) const OWNED_TO_BORROWED: Promise = RatioAtMost(2.5);
/// A failed attempt, relative to that of glibc's robust mutex.
pub(crate) const BUSY_TO_ROBUST: Promise = RatioAtMost(1.2);
pub(crate) const POSIX_TO_BARE: Promise = RatioAtMost(1.5);
pub(crate) const CONTENDED: Promise = RatioAtLeast(1.0);
/// Relative to the mean.
pub(crate) const LOWEST_SHARE: Promise = AtLeast(0.5);
/// Relative to the fastest store.
pub(crate) const ALLOCATION_GROWS: Promise = RatioAtMost(1.5);
/// Of the smallest, empty store, relative to podman's scan.
pub(crate) const ALLOCATION_TO_PODMAN: Promise = RatioAtMost(5.0);
/// Of the smallest store, relative to podman's segment.
pub(crate) const OPEN_TO_PODMAN: Promise = RatioAtMost(3.0);
/// "The same" with 1,000 processes in the store, with 25 % for the difference between new and older processes.
pub(crate) const OPEN_IN_A_CROWD: Promise = RatioAtMost(1.25);
pub(crate) const CREATE_OR_OPEN_NS: Promise = AtMost(1e6);
pub(crate) const BYTES_TOUCHED: Promise = AtMost(1_048_576.0);
pub(crate) const HELD: Promise = RatioAtMost(1.0 / 5.0);
/// Relative to a bare read of as many lines.
pub(crate) const HELD_TO_READ: Promise = RatioAtMost(1.2);
/// Relative to a bare read of as many records.
pub(crate) const ALLOCATED_TO_READ: Promise = RatioAtMost(2.0);
pub(crate) const RECONCILE: Promise = RatioAtMost(5.0);
pub(crate) const AVAILABLE: Promise = RatioAtMost(1.0 / 50.0);
pub(crate) const RUN_TO_FLOCK: Promise = RatioAtMost(1.2);
pub(crate) const LISTED_NS: Promise = AtMost(1e9);
pub(crate) const LISTED_BYTES: Promise = AtMost(32.0 * 1_048_576.0);
/// Relative to a time without lists.
pub(crate) const LISTED_BESIDE: Promise = RatioAtLeast(0.98);
pub(crate) const PODMAN_PAIR_NS: Promise = AtMost(250.0);
/// Relative to a time without lists.
pub(crate) const INSPECTED: Promise = RatioAtMost(1.1);
pub(crate) const FILE_TO_BARE: Promise = RatioAtMost(1.25);
pub(crate) const FILE_TO_LXC: Promise = RatioAtMost(1.0 / 2.0);
/// "No dearer", with 10 % for the difference between two handles on equal files.
pub(crate) const FILE_AMONG_OTHERS: Promise = RatioAtMost(1.1);
pub(crate) const SEM_TO_BARE: Promise = RatioAtMost(1.25);
pub(crate) const HAND_OVER_NS: Promise = AtMost(5e6);
pub(crate) const SERVER_TO_BARE: Promise = RatioAtMost(1.25);
pub(crate) const HAND_OVER_FROM_POSTGRES_NS: Promise = AtMost(50e6);
/// The time to live, and less than a second.
pub(crate) const HAND_OVER_FROM_ETCD_NS: Promise = AtMost(3e9);
pub(crate) const EARLY: Promise = AtMost(0.0);
pub(crate) const LATE_NS: Promise = AtMost(5e6);
/// In fair turns.
pub(crate) const LONGEST_WAIT: Promise = AtMost(5.0);

/// The wait beside one busy thread, in units of its hold: two holds and 5 ms.
pub(crate) fn wait_beside(hold: Duration) -> Promise {
    AtMost(2.0 + 0.005 / hold.as_secs_f64())
}

impl Promise {
    /// Whether the promise is met; `None` if it was not measured.
    pub(crate) fn is_met(self, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            RatioAtMost(bound) => ratio.map(|ratio| ratio <= bound),
            RatioAtLeast(bound) => ratio.map(|ratio| ratio >= bound),
            AtMost(bound) => ours.map(|ours| ours <= bound),
            AtLeast(bound) => ours.map(|ours| ours >= bound),
        }
    }

    /// The bound of a ratio; `None` for a bound of the figure.
    pub(crate) fn on_ratio(self) -> Option<f64> {
        match self {
            RatioAtMost(bound) | RatioAtLeast(bound) => Some(bound),
            AtMost(_) | AtLeast(_) => None,
        }
    }

    /// Formats the promise for figures of this unit.
    pub(crate) fn shown(self, unit: crate::unit::Unit) -> String {
        match self {
            RatioAtMost(bound) => format!("≤ {} ×", short(bound)),
            RatioAtLeast(bound) => format!("≥ {} ×", short(bound)),
            AtMost(bound) => format!("≤ {}", unit.show(bound)),
            AtLeast(bound) => format!("≥ {}", unit.show(bound)),
        }
    }
}

fn short(bound: f64) -> String {
    format!("{bound:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

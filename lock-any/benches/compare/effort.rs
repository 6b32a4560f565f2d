//! How much is measured: all of it, or just enough to see that everything runs.

use std::time::Duration;

/// The numbers that decide how long a run takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Of what takes nanoseconds or microseconds.
    pub(crate) rounds: usize,
    /// Of allocation and listings, in stores that are large.
    pub(crate) slow_rounds: usize,
    /// Numbers of locks.
    pub(crate) sizes: &'static [u32],
    /// The size at which listings are measured.
    pub(crate) listed: u32,
    pub(crate) reconciled: u32,
    /// Locks that are held besides.
    pub(crate) others_held: usize,
    /// Numbers of processes that contend.
    pub(crate) contenders: &'static [usize],
    /// How long they contend at a time, and how often: short and often, so that what disturbs the machine disturbs all alike.
    pub(crate) window: Duration,
    pub(crate) windows: usize,
    /// Windows that are taken together to see how the lock was shared: two seconds.
    pub(crate) shared_over: usize,
    pub(crate) kills: usize,
    pub(crate) waits: usize,
    pub(crate) crowd: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 201,
        slow_rounds: 31,
        sizes: &[2_048, 65_536, 1_048_576, 16_777_216],
        listed: 1_048_576,
        reconciled: 100_000,
        others_held: 10_000,
        contenders: &[2, 4, 8, 16],
        window: Duration::from_millis(250),
        windows: 24,
        shared_over: 8,
        kills: 250,
        waits: 150,
        crowd: 1_000,
    };

    /// The figures mean nothing.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        slow_rounds: 3,
        sizes: &[2_048, 4_096],
        listed: 4_096,
        reconciled: 1_000,
        others_held: 100,
        contenders: &[2, 4],
        window: Duration::from_millis(50),
        windows: 2,
        shared_over: 2,
        kills: 5,
        waits: 3,
        crowd: 10,
    };
}

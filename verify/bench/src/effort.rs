//! The amount of measurements: a full run, or a quick check.

use std::time::Duration;

/// The numbers that determine the duration of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds of fast operations.
    pub(crate) rounds: usize,
    /// Rounds of allocation and listings in large stores.
    pub(crate) slow_rounds: usize,
    /// Numbers of locks.
    pub(crate) sizes: &'static [u32],
    /// Number of locks for listings.
    pub(crate) listed: u32,
    pub(crate) reconciled: u32,
    /// Number of locks for listing commands.
    pub(crate) commanded: u32,
    /// Number of other held locks.
    pub(crate) others_held: usize,
    /// Numbers of contending processes.
    pub(crate) contenders: &'static [usize],
    /// Duration and number of windows. Many short windows spread disturbances evenly.
    pub(crate) window: Duration,
    pub(crate) windows: usize,
    /// Number of windows that are combined for the share of each process (two seconds).
    pub(crate) shared_over: usize,
    /// Number of allocated ids at a server.
    pub(crate) allocated_at_server: u32,
    pub(crate) kills: usize,
    pub(crate) waits: usize,
    pub(crate) crowd: usize,
    /// Rounds of waits beside a busy thread. Each takes the window and this number of holds.
    pub(crate) fairness_rounds: usize,
    pub(crate) fairness_window: Duration,
    pub(crate) holds: u32,
    /// Number of processes with sections, and the duration of their window.
    pub(crate) neighbours: u32,
    pub(crate) neighbours_window: Duration,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        rounds: 201,
        slow_rounds: 31,
        sizes: &[2_048, 65_536, 1_048_576, 16_777_216],
        listed: 1_048_576,
        reconciled: 100_000,
        commanded: 1_000_000,
        others_held: 10_000,
        contenders: &[2, 4, 8, 16],
        window: Duration::from_millis(250),
        windows: 24,
        shared_over: 8,
        allocated_at_server: 1_000_000,
        kills: 250,
        waits: 150,
        crowd: 1_000,
        fairness_rounds: 3,
        fairness_window: Duration::from_millis(600),
        holds: 30,
        neighbours: 16,
        neighbours_window: Duration::from_millis(2_500),
    };

    /// For checks only; the figures are meaningless.
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        slow_rounds: 3,
        sizes: &[2_048, 4_096],
        listed: 4_096,
        reconciled: 1_000,
        commanded: 4_000,
        others_held: 100,
        contenders: &[2, 4],
        window: Duration::from_millis(50),
        windows: 2,
        shared_over: 2,
        allocated_at_server: 2_000,
        kills: 5,
        waits: 3,
        crowd: 10,
        fairness_rounds: 1,
        fairness_window: Duration::from_millis(20),
        holds: 3,
        neighbours: 4,
        neighbours_window: Duration::from_millis(60),
    };
}

use std::ops::AddAssign;
use std::time::Duration;

/// The totals of a soak test.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Totals {
    /// Number of killed processes.
    pub kills: u64,
    /// Number of kills of a process that was observed in a critical section.
    pub aimed: u64,
    /// Number of acquisitions after an owner's death, counted by new owners that lived long enough.
    pub owner_deaths: u64,
    /// Number of acquisitions with a death report that does not name the process.
    pub unnamed: u64,
    /// Number of critical sections.
    pub sections: u64,
    /// Number of allocations. Most of the ids were freed again.
    pub allocations: u64,
    /// Number of broken promises.
    ///
    /// These are: two owners in a critical section; a death report that is absent, names the wrong process or reports no actual
    /// death; a token that does not increase; a wrong sum; an id with two owners; an error; a crash.
    pub violations: u64,
    /// Number of locks that could not be acquired, lost wake-ups, and ids that could not be allocated.
    pub lost: u64,
    /// The longest wait for a lock that ended in an acquisition.
    pub worst_wait: Duration,
    /// The duration.
    pub time: Duration,
}

impl Totals {
    /// Returns whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.violations == 0 && self.lost == 0
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        self.kills += more.kills;
        self.aimed += more.aimed;
        self.owner_deaths += more.owner_deaths;
        self.unnamed += more.unnamed;
        self.sections += more.sections;
        self.allocations += more.allocations;
        self.violations += more.violations;
        self.lost += more.lost;
        self.worst_wait = self.worst_wait.max(more.worst_wait);
        self.time += more.time;
    }
}

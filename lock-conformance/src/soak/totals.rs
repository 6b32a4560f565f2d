use std::ops::AddAssign;
use std::time::Duration;

/// What there was in a storm.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Totals {
    /// Processes that were killed.
    pub kills: u64,
    /// Kills of those among them that were seen in a critical section.
    pub aimed: u64,
    /// How often an owner followed a dead one, as far as it lived to say so.
    pub owner_deaths: u64,
    /// Those of them where the owner was told of a death, and that it is not known any more whose.
    pub unnamed: u64,
    /// Critical sections.
    pub sections: u64,
    /// Ids that were allocated, and mostly freed again.
    pub allocations: u64,
    /// Broken promises: two in a critical section; a death that the next owner was not told, or that was of somebody else, or had not
    /// been; a token that is not greater; a sum that is not right; an id that two had; an error; a crash.
    pub violations: u64,
    /// Locks that nobody could take, waiters that nobody woke, ids that nobody could allocate.
    pub lost: u64,
    /// The longest that anybody waited for a lock and got it.
    pub worst_wait: Duration,
    /// How long it took.
    pub time: Duration,
}

impl Totals {
    /// Whether every promise was kept.
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

//! Records the route of a target by single steps.

use super::machine::Next;
use super::route::{Place, Route};
use super::target::{Movement, Reached, TargetProcess};

/// Maximum number of instructions to step through in one target.
///
/// Single steps are slow. A slow target may execute code that depends on elapsed time and that a fast one skips. A survey of
/// thousands of instructions therefore combines sections from many targets.
const SECTION: usize = 400;
/// Maximum number of targets in a row that miss the end of the last section.
///
/// After these, one target is stepped through the whole route.
const MAX_MISSES: usize = 8;

/// A survey in progress.
pub(super) struct Survey {
    /// The instructions of each stretch. The last one is recorded but not executed yet.
    stretches: Vec<Vec<u64>>,
    at: Next,
    misses: usize,
    end: Option<Reached>,
}

impl Survey {
    pub(super) fn new() -> Self {
        Self { stretches: vec![vec![]], at: Next::default(), misses: 0, end: None }
    }

    pub(super) fn is_done(&self) -> bool {
        self.end.is_some()
    }

    /// Continues the survey with a new target, which is at the start of the route.
    pub(super) fn extend(&mut self, target: &mut TargetProcess) -> nix::Result<()> {
        if self.misses > MAX_MISSES {
            *self = Self { misses: self.misses, ..Self::new() };
        } else if !self.follow(target)? {
            self.misses += 1;
            return Ok(());
        }
        let steps = if self.misses > MAX_MISSES { usize::MAX } else { SECTION };
        self.misses = 0;
        if self.stretches[0].is_empty() {
            self.record(target);
        }
        for _ in 0..steps {
            match target.step()? {
                Reached::There => {}
                end => {
                    self.end = Some(end);
                    return Ok(());
                }
            }
            if self.at.is_system_call {
                self.stretches.push(vec![]);
            }
            self.record(target);
        }
        Ok(())
    }

    /// Returns the route. Only meaningful once the survey is done.
    pub(super) fn route(self) -> Route {
        Route::new(self.stretches, self.end == Some(Reached::Asleep))
    }

    /// Moves a target to the end of the last section; returns whether it got there.
    fn follow(&self, target: &mut TargetProcess) -> nix::Result<bool> {
        let calls = self.stretches.len() - 1;
        let Some(instructions) = self.stretches[calls].len().checked_sub(1) else { return Ok(true) };
        let route = Route::new(self.stretches.clone(), false);
        let reached = target.move_to(&route, Place::Instruction { calls, instructions }, Movement::Quickly)?;
        Ok(reached == Reached::There && target.next() == self.at)
    }

    fn record(&mut self, target: &TargetProcess) {
        self.at = target.next();
        self.stretches.last_mut().expect("a survey starts with one stretch").push(self.at.address);
    }
}

//! Finds out what a victim goes through, by single steps.

use super::machine::Next;
use super::route::{Place, Route};
use super::victim::{Going, Reached, Victim};

/// What one victim is stepped through. Steps take their time, and who takes as much may find that something is due which for victims in
/// a hurry is not: a survey of thousands of instructions is put together of what many victims are stepped through.
const SECTION: usize = 400;
/// When so many in a row do not come to where the last one was left, one has to go the whole way.
const ASTRAY: usize = 8;

/// A survey, from the first victim to the last.
pub(super) struct Survey {
    /// Of the instructions of each stretch, the last one of which is known, and not executed.
    stretches: Vec<Vec<u64>>,
    at: Next,
    astray: usize,
    end: Option<Reached>,
}

impl Survey {
    pub(super) fn new() -> Self {
        Self { stretches: vec![vec![]], at: Next::default(), astray: 0, end: None }
    }

    pub(super) fn is_done(&self) -> bool {
        self.end.is_some()
    }

    /// Goes on with a victim that is where the first one was in the beginning.
    pub(super) fn go_on(&mut self, victim: &mut Victim) -> nix::Result<()> {
        if self.astray > ASTRAY {
            *self = Self { astray: self.astray, ..Self::new() };
        } else if !self.follow(victim)? {
            self.astray += 1;
            return Ok(());
        }
        let steps = if self.astray > ASTRAY { usize::MAX } else { SECTION };
        self.astray = 0;
        if self.stretches[0].is_empty() {
            self.see(victim);
        }
        for _ in 0..steps {
            match victim.step()? {
                Reached::There => {}
                end => {
                    self.end = Some(end);
                    return Ok(());
                }
            }
            if self.at.is_system_call {
                self.stretches.push(vec![]);
            }
            self.see(victim);
        }
        Ok(())
    }

    /// What was found; what it is when it is not done is of no use.
    pub(super) fn route(self) -> Route {
        Route::new(self.stretches, self.end == Some(Reached::Asleep))
    }

    /// Brings a victim to where the last one was left.
    fn follow(&self, victim: &mut Victim) -> nix::Result<bool> {
        let calls = self.stretches.len() - 1;
        let Some(instructions) = self.stretches[calls].len().checked_sub(1) else { return Ok(true) };
        let route = Route::new(self.stretches.clone(), false);
        let reached = victim.go_to(&route, Place::Instruction { calls, instructions }, Going::Quickly)?;
        Ok(reached == Reached::There && victim.next() == self.at)
    }

    fn see(&mut self, victim: &Victim) {
        self.at = victim.next();
        self.stretches.last_mut().expect("there is a first").push(self.at.address);
    }
}

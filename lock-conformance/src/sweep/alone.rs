use std::io;

use super::operation::Operation;
use super::route::{Place, Route};
use super::setup::Setup;
use super::subject::Subject;
use super::survey::Survey;
use super::target::{Movement, Reached, TargetProcess};

/// A target without concurrent processes.
pub(super) struct Alone {
    setup: Setup,
    operation: &'static Operation,
}

impl Alone {
    pub(super) fn new(setup: Setup, operation: &'static Operation) -> Self {
        Self { setup, operation }
    }

    fn start(&mut self) -> io::Result<TargetProcess> {
        self.setup.reset();
        (self.operation.prepare)(&mut self.setup).map_err(io::Error::other)?;
        Ok(TargetProcess::start(|| (self.operation.attach)(&self.setup), || (self.operation.act)(&self.setup))?)
    }

    fn check(&mut self, target: TargetProcess) -> Result<(), String> {
        let pid = target.pid();
        target.kill();
        (self.operation.check)(&mut self.setup, pid).inspect_err(|_| self.setup.discard_store())
    }
}

impl Subject for Alone {
    fn survey(&mut self) -> io::Result<Route> {
        let mut survey = Survey::new();
        while !survey.is_done() {
            let mut target = self.start()?;
            survey.extend(&mut target)?;
            self.check(target).map_err(io::Error::other)?;
        }
        Ok(survey.route())
    }

    fn kill_at(&mut self, place: Place, route: &Route, by: Movement) -> Result<Reached, String> {
        let mut target = self.start().map_err(|e| e.to_string())?;
        let reached = target.move_to(route, place, by).map_err(|e| e.to_string())?;
        self.check(target).map(|()| reached)
    }
}

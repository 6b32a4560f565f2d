use std::io;

use super::operation::Operation;
use super::route::{Place, Route};
use super::scene::Scene;
use super::subject::Subject;
use super::survey::Survey;
use super::victim::{Going, Reached, Victim};

/// A target without concurrent processes.
pub(super) struct Alone {
    scene: Scene,
    operation: &'static Operation,
}

impl Alone {
    pub(super) fn new(scene: Scene, operation: &'static Operation) -> Self {
        Self { scene, operation }
    }

    fn start(&mut self) -> io::Result<Victim> {
        self.scene.reset();
        (self.operation.prepare)(&mut self.scene).map_err(io::Error::other)?;
        Ok(Victim::start(|| (self.operation.settle)(&self.scene), || (self.operation.act)(&self.scene))?)
    }

    fn check(&mut self, victim: Victim) -> Result<(), String> {
        let pid = victim.pid();
        victim.kill();
        (self.operation.check)(&mut self.scene, pid).inspect_err(|_| self.scene.renew())
    }
}

impl Subject for Alone {
    fn survey(&mut self) -> io::Result<Route> {
        let mut survey = Survey::new();
        while !survey.is_done() {
            let mut victim = self.start()?;
            survey.go_on(&mut victim)?;
            self.check(victim).map_err(io::Error::other)?;
        }
        Ok(survey.route())
    }

    fn kill_at(&mut self, place: Place, route: &Route, going: Going) -> Result<Reached, String> {
        let mut victim = self.start().map_err(|e| e.to_string())?;
        let reached = victim.go_to(route, place, going).map_err(|e| e.to_string())?;
        self.check(victim).map(|()| reached)
    }
}

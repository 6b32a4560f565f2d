//! Kills a process at every instruction, and at every system call, of every operation, and looks what is left.
//!
//! A forked process is stepped through an operation under ptrace and killed at one place after the other. After each kill: the lock
//! can be taken within a second, the next owner is told the truth, no id is lost, the store opens, no file is left over, and who
//! waited beside the victim gets the lock.
//!
//! It is for any backend. Since it forks, it has to be called by a process that has a single thread.

mod contended;
mod operation;
mod scene;
mod victim;

use std::fmt;
use std::io;
use std::path::Path;

use lock_core::{Backend, OwnerDeath};

use self::contended::Moment;
use self::operation::{OPERATIONS, Operation};
use self::scene::Scene;
use self::victim::{Place, Reached, Victim};

/// What came of sweeping one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Row {
    /// What the victim did.
    pub operation: &'static str,
    /// What it was stopped by.
    pub by: By,
    /// At how many places it was killed; a victim that was done before it came to its place does not count.
    pub points: usize,
    /// After how many of these kills something was wrong.
    pub lost: usize,
    /// What was, the first time.
    pub first: Option<String>,
}

/// What the places are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum By {
    /// Between two instructions.
    Instruction,
    /// At the entry and the exit of a system call.
    SystemCall,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instruction => "instruction",
            Self::SystemCall => "system call",
        })
    }
}

/// How thorough a sweep is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thoroughness {
    /// Every place.
    Every,
    /// At most so many places of each operation, evenly spread.
    AtMost(usize),
}

impl Thoroughness {
    fn pick(self, points: usize) -> impl Iterator<Item = usize> {
        let step = match self {
            Self::Every => 1,
            Self::AtMost(limit) => points.div_ceil(limit.max(1)).max(1),
        };
        (0..points).step_by(step)
    }
}

/// What a sweep tells while it goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum News<'a> {
    /// The victim is about to be killed at this place of so many.
    At {
        /// What it does.
        operation: &'static str,
        /// The place, from 0.
        place: usize,
        /// How many there are.
        of: usize,
    },
    /// An operation is done.
    Done(&'a Row),
}

/// A sweep over the operations of a backend.
pub struct Sweep<'a> {
    backend: &'a Backend,
    url: &'a dyn Fn(&Path) -> String,
    thoroughness: Thoroughness,
    only: Option<&'a str>,
}

impl<'a> Sweep<'a> {
    /// A sweep at every place of every operation. `url` gives the URL of a store in a directory.
    pub fn new(backend: &'a Backend, url: &'a dyn Fn(&Path) -> String) -> Self {
        Self { backend, url, thoroughness: Thoroughness::Every, only: None }
    }

    /// The same, not everywhere.
    #[must_use]
    pub fn thoroughness(mut self, thoroughness: Thoroughness) -> Self {
        self.thoroughness = thoroughness;
        self
    }

    /// The same, of the operations whose name has this in it.
    #[must_use]
    pub fn only(mut self, name: &'a str) -> Self {
        self.only = Some(name);
        self
    }

    /// Runs it, in `scratch`, which is an empty directory.
    ///
    /// # Errors
    /// When it cannot be made: ptrace is not allowed, the directory cannot be used, an operation fails with nobody killed.
    pub fn run(&self, scratch: &Path, news: &mut dyn FnMut(News<'_>)) -> io::Result<Vec<Row>> {
        let claims = self.backend.capabilities();
        let mut scene = Scene::new(self.backend, self.url, scratch)?;
        let mut rows = Vec::new();
        for operation in OPERATIONS.iter().filter(|one| (one.applies)(&claims) && self.wants(one.name)) {
            for by in [By::Instruction, By::SystemCall] {
                rows.extend(self.operation(&mut scene, operation, by, news)?);
            }
        }
        if claims.owner_death != OwnerDeath::Stuck {
            for (name, moment) in [("wait for a lock", Moment::Waiting), ("be woken with a lock", Moment::Woken)] {
                if self.wants(name) {
                    let points = contended::survey(&mut scene, moment).map_err(io::Error::other)?;
                    let kill_at = |place| contended::sweep(&mut scene, moment, place).inspect_err(|_| scene.renew());
                    rows.push(self.row(name, By::Instruction, points, news, kill_at));
                }
            }
        }
        Ok(rows)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_none_or(|only| name.contains(only))
    }

    fn operation(
        &self,
        scene: &mut Scene,
        operation: &Operation,
        by: By,
        news: &mut dyn FnMut(News<'_>),
    ) -> io::Result<Option<Row>> {
        // Twice: the first time, what is there only once is made, as blocks of a file.
        let mut stretches = Vec::new();
        for _ in 0..2 {
            let (mut victim, _) = start(scene, operation)?;
            stretches = victim.survey()?;
        }
        let places: Vec<_> = match by {
            By::Instruction => places(&stretches).collect(),
            By::SystemCall => (1..stretches.len() * 2 - 1).map(Place::Boundary).collect(),
        };
        if places.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.row(operation.name, by, places.len(), news, |index| {
            let (mut victim, pid) = start(scene, operation).map_err(|e| e.to_string())?;
            let reached = victim.go_to(places[index]).map_err(|e| e.to_string())?;
            victim.kill();
            (operation.check)(scene, pid).inspect_err(|_| scene.renew())?;
            Ok(reached == Reached::There)
        })))
    }

    fn row(
        &self,
        operation: &'static str,
        by: By,
        places: usize,
        news: &mut dyn FnMut(News<'_>),
        mut kill_at: impl FnMut(usize) -> Result<bool, String>,
    ) -> Row {
        let mut row = Row { operation, by, points: 0, lost: 0, first: None };
        for place in self.thoroughness.pick(places) {
            news(News::At { operation, place, of: places });
            match kill_at(place) {
                Ok(reached) => row.points += usize::from(reached),
                Err(wrong) => {
                    row.points += 1;
                    row.lost += 1;
                    row.first.get_or_insert_with(|| format!("at {by} {place} of {places}: {wrong}"));
                }
            }
        }
        news(News::Done(&row));
        row
    }
}

impl fmt::Debug for Sweep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep").field("backend", &self.backend).field("thoroughness", &self.thoroughness).finish_non_exhaustive()
    }
}

/// Every place between two instructions, from the lengths of the stretches between system calls.
fn places(stretches: &[usize]) -> impl Iterator<Item = Place> {
    let stretches = stretches.iter().enumerate();
    stretches.flat_map(|(calls, length)| (0..=*length).map(move |instructions| Place::Instruction { calls, instructions }))
}

fn start(scene: &mut Scene, operation: &Operation) -> Result<(Victim, u32), io::Error> {
    scene.reset();
    (operation.prepare)(scene).map_err(io::Error::other)?;
    let victim = Victim::start(|| scene.settle(), || (operation.act)(scene))?;
    let pid = victim.pid();
    Ok((victim, pid))
}

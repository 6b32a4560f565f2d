//! Sweeps: kill a process at every instruction and system call of an operation, and check the store.
//!
//! A forked process, the *target*, is stopped under ptrace at one place of an operation and killed there. Each kill is followed by
//! these checks:
//!
//! - The lock can be acquired within a second, and a process that waited beside the target acquires it.
//! - The next owner gets a correct report.
//! - No id is lost.
//! - The store opens, and no file remains after it is destroyed.
//!
//! A survey finds the places. It steps through the whole operation in sections, each with a new target. The instructions that a
//! target executes are its *route*. On x86-64, breakpoints bring a target close to the place and single steps cover the rest. The
//! target must then be at the address that the survey recorded. If it is not, because it took an unknown route, the next target is
//! single-stepped from the last system call before the place.
//!
//! A sweep works with any backend. The program uses [`Memory`] as its global allocator, so that all targets take the same route. A
//! sweep forks, so only a single-threaded process may call it.

mod alone;
mod contended;
mod machine;
mod naming;
mod operation;
mod processor;
mod route;
mod setup;
mod subject;
mod survey;
mod target;
mod temporaries;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;

use lock_core::Backend;

use self::alone::Alone;
use self::contended::{WAITS, Waiter};
use self::naming::NAMING;
use self::operation::OPERATIONS;
use self::processor::OneProcessor;
use self::route::{Place, Route};
use self::setup::{CAPACITY, Setup};
use self::subject::{Subject, kill};
use self::target::Movement;
use self::temporaries::TEMPORARIES;
pub use crate::sys::Memory;

/// Maximum number of routes to survey for an operation.
const ROUTES: usize = 12;
/// Number of places to test for each route that is surveyed.
const PLACES_A_ROUTE: usize = 50;
/// Number of processes that complete a long operation before it is surveyed.
const REHEARSALS: usize = 1024;

/// The result of sweeping one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Row {
    /// The operation that the target executed.
    pub operation: &'static str,
    /// The kind of place at which targets were stopped.
    pub by: By,
    /// Number of places chosen for kills.
    ///
    /// [`Thoroughness::Every`] includes the places of every route that targets took.
    pub chosen: usize,
    /// Number of places at which a target was killed.
    ///
    /// A target that ended before it reached its place does not count.
    pub points: usize,
    /// Number of those places that were reached only by single steps, because the target took another route.
    pub stepped: usize,
    /// Number of kills after which a check failed.
    pub lost: usize,
    /// The message of the first failed check.
    pub first: Option<String>,
}

/// The kind of place at which a target is stopped.
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

/// How many places a sweep tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thoroughness {
    /// Every place.
    Every,
    /// At most this many places of each operation, evenly spread.
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

/// A progress report of a running sweep.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The target is about to be killed at a place.
    At {
        /// The operation that it executes.
        operation: &'static str,
        /// The index of the place, from 0.
        place: usize,
        /// The number of places.
        of: usize,
    },
    /// An operation is done.
    Done(&'a Row),
}

/// Returns whether the row of an operation is already complete.
type IsDone<'a> = &'a dyn Fn(&str, By) -> bool;

/// A sweep over the operations of a backend.
pub struct Sweep<'a> {
    backend: &'a Backend,
    url: &'a dyn Fn(&Path) -> String,
    thoroughness: Thoroughness,
    only: Option<&'a str>,
    done: Option<IsDone<'a>>,
}

impl<'a> Sweep<'a> {
    /// Creates a sweep over every place of every operation.
    ///
    /// `url` returns the URL of a store in a directory.
    pub fn new(backend: &'a Backend, url: &'a dyn Fn(&Path) -> String) -> Self {
        Self { backend, url, thoroughness: Thoroughness::Every, only: None, done: None }
    }

    /// Sets how many places to test.
    #[must_use]
    pub fn thoroughness(mut self, thoroughness: Thoroughness) -> Self {
        self.thoroughness = thoroughness;
        self
    }

    /// Restricts the sweep to operations whose name contains `name`.
    #[must_use]
    pub fn only(mut self, name: &'a str) -> Self {
        self.only = Some(name);
        self
    }

    /// Skips the rows for which `done` returns true.
    #[must_use]
    pub fn but_for(mut self, done: IsDone<'a>) -> Self {
        self.done = Some(done);
        self
    }

    /// Runs the sweep in `scratch`, an empty directory.
    ///
    /// # Errors
    /// Fails if ptrace is not allowed, the directory is not usable, or an operation fails without a kill.
    pub fn run(&self, scratch: &Path, report: &mut dyn FnMut(Progress<'_>)) -> io::Result<Vec<Row>> {
        let claims = self.backend.capabilities();
        let _one = OneProcessor::keep_to();
        let mut rows = Vec::new();
        for operation in OPERATIONS.iter().chain(NAMING).chain(TEMPORARIES).filter(|one| (one.applies)(&claims)) {
            self.sweep(operation.name, &mut rows, report, || {
                Ok(Alone::new(Setup::new(self.backend, self.url, scratch, operation.capacity)?, operation))
            })?;
        }
        for kind in WAITS.iter().filter(|one| (one.applies)(&claims)) {
            self.sweep(kind.name, &mut rows, report, || {
                Ok(Waiter::new(Setup::new(self.backend, self.url, scratch, CAPACITY)?, kind))
            })?;
        }
        Ok(rows)
    }

    fn sweep<S: Subject>(
        &self,
        name: &'static str,
        rows: &mut Vec<Row>,
        report: &mut dyn FnMut(Progress<'_>),
        subject: impl FnOnce() -> io::Result<S>,
    ) -> io::Result<()> {
        let mut wanted = vec![By::Instruction, By::SystemCall];
        wanted.retain(|by| self.only.is_none_or(|only| name.contains(only)) && !self.done.is_some_and(|done| done(name, *by)));
        if wanted.is_empty() {
            return Ok(());
        }
        let mut subject = subject()?;
        // The second survey counts. The first one runs code that runs only once, such as the allocation of a file's blocks. If
        // each process contributes a part, for example by opening a store, many processes run before the second survey.
        let first = subject.survey()?;
        if self.thoroughness.pick(first.instructions().len()).count() > 10 * REHEARSALS {
            for _ in 0..REHEARSALS {
                subject.kill_at(Place::Boundary(usize::MAX), &first, Movement::BySteps).map_err(io::Error::other)?;
            }
        }
        let mut routes = vec![subject.survey()?];
        for by in wanted {
            rows.extend(self.row(name, by, &mut subject, &mut routes, report)?);
        }
        Ok(())
    }

    fn row(
        &self,
        name: &'static str,
        by: By,
        subject: &mut dyn Subject,
        routes: &mut Vec<Route>,
        report: &mut dyn FnMut(Progress<'_>),
    ) -> io::Result<Option<Row>> {
        let all = match by {
            By::Instruction => routes[0].instructions(),
            By::SystemCall => routes[0].boundaries(),
        };
        let mut places: Vec<_> = self.thoroughness.pick(all.len()).map(|index| all[index]).collect();
        if places.is_empty() {
            return Ok(None);
        }
        let mut known: HashSet<_> = all.into_iter().collect();
        let most = (places.len() / PLACES_A_ROUTE).clamp(1, ROUTES);
        let mut row = Row { operation: name, by, chosen: 0, points: 0, stepped: 0, lost: 0, first: None };
        while let Some(place) = places.get(row.chosen).copied() {
            report(Progress::At { operation: name, place: row.chosen, of: places.len() });
            row.chosen += 1;
            let surveyed = routes.len();
            let killed = kill(subject, place, routes, most)?;
            if routes.len() > surveyed && self.thoroughness == Thoroughness::Every {
                let more = routes.iter().flat_map(Route::instructions);
                places.extend(more.filter(|place| known.insert(*place)));
            }
            match killed {
                Ok(None) => continue,
                Ok(Some(going)) => row.stepped += usize::from(going == Movement::BySteps),
                Err(wrong) => {
                    row.lost += 1;
                    row.first.get_or_insert_with(|| format!("at {place}: {wrong}"));
                }
            }
            row.points += 1;
        }
        report(Progress::Done(&row));
        Ok(Some(row))
    }
}

impl fmt::Debug for Sweep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep").field("backend", &self.backend).field("thoroughness", &self.thoroughness).finish_non_exhaustive()
    }
}

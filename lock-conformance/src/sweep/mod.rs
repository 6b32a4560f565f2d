//! Kills a process at every instruction, and at every system call, of every operation, and looks what is left.
//!
//! A forked process is stopped under ptrace at one place of an operation after the other, and killed there. After each kill: the lock
//! can be taken within a second, the next owner is told the truth, no id is lost, the store opens, no file is left over, and who
//! waited beside the victim gets the lock.
//!
//! The places are those that a survey finds, which steps through all of it, section by section, each with another victim. On x86-64 a
//! victim is brought near to its place by a breakpoint and stepped the rest, and has to be at the address that the survey found there;
//! where it is not, because it takes another route than any that was surveyed, the next victim is stepped there from the last system call
//! before it.
//!
//! It is for any backend. A program that sweeps has [`Memory`] for its allocator, so that all victims take the same route. Since it forks,
//! it has to be called by a process that has a single thread.

mod alone;
mod contended;
mod machine;
mod operation;
mod processor;
mod route;
mod scene;
mod subject;
mod survey;
mod victim;

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;

use lock_core::Backend;

use self::alone::Alone;
use self::contended::{CONTESTS, Waiter};
use self::operation::OPERATIONS;
use self::processor::OneProcessor;
use self::route::{Place, Route};
use self::scene::{CAPACITY, Scene};
use self::subject::{Subject, kill};
use self::victim::Going;
pub use crate::sys::Memory;

/// How many routes of an operation are surveyed at most; and how many places have to be come to for each.
const ROUTES: usize = 12;
const PLACES_A_ROUTE: usize = 50;
/// Processes that do the whole of a long operation before it is surveyed.
const REHEARSALS: usize = 1024;

/// What came of sweeping one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Row {
    /// What the victim did.
    pub operation: &'static str,
    /// What it was stopped by.
    pub by: By,
    /// At how many places it was to be killed: a thorough sweep counts those of every route that victims were found to take.
    pub chosen: usize,
    /// At how many places it was killed; a victim that was done before it came to its place does not count.
    pub points: usize,
    /// At how many of them only after it was stepped there by single instructions, since it took another route than usual.
    pub stepped: usize,
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

/// Whether the row of this operation is done already.
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
    /// A sweep at every place of every operation. `url` gives the URL of a store in a directory.
    pub fn new(backend: &'a Backend, url: &'a dyn Fn(&Path) -> String) -> Self {
        Self { backend, url, thoroughness: Thoroughness::Every, only: None, done: None }
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

    /// The same, without the rows of which this says that they are done.
    #[must_use]
    pub fn but_for(mut self, done: IsDone<'a>) -> Self {
        self.done = Some(done);
        self
    }

    /// Runs it, in `scratch`, which is an empty directory.
    ///
    /// # Errors
    /// When it cannot be made: ptrace is not allowed, the directory cannot be used, an operation fails with nobody killed.
    pub fn run(&self, scratch: &Path, news: &mut dyn FnMut(News<'_>)) -> io::Result<Vec<Row>> {
        let claims = self.backend.capabilities();
        let _one = OneProcessor::keep_to();
        let mut rows = Vec::new();
        for operation in OPERATIONS.iter().filter(|one| (one.applies)(&claims)) {
            self.sweep(operation.name, &mut rows, news, || {
                Ok(Alone::new(Scene::new(self.backend, self.url, scratch, operation.capacity)?, operation))
            })?;
        }
        for contest in CONTESTS.iter().filter(|one| (one.applies)(&claims)) {
            self.sweep(contest.name, &mut rows, news, || {
                Ok(Waiter::new(Scene::new(self.backend, self.url, scratch, CAPACITY)?, contest))
            })?;
        }
        Ok(rows)
    }

    fn sweep<S: Subject>(
        &self,
        name: &'static str,
        rows: &mut Vec<Row>,
        news: &mut dyn FnMut(News<'_>),
        subject: impl FnOnce() -> io::Result<S>,
    ) -> io::Result<()> {
        let mut wanted = vec![By::Instruction, By::SystemCall];
        wanted.retain(|by| self.only.is_none_or(|only| name.contains(only)) && !self.done.is_some_and(|done| done(name, *by)));
        if wanted.is_empty() {
            return Ok(());
        }
        let mut subject = subject()?;
        // Twice: the first time, what is there only once is made, as blocks of a file. Where every process makes a part of it, as
        // one that opens a store does, many have to come first.
        let first = subject.survey()?;
        if self.thoroughness.pick(first.instructions().len()).count() > 10 * REHEARSALS {
            for _ in 0..REHEARSALS {
                subject.kill_at(Place::Boundary(usize::MAX), &first, Going::BySteps).map_err(io::Error::other)?;
            }
        }
        let mut routes = vec![subject.survey()?];
        for by in wanted {
            rows.extend(self.row(name, by, &mut subject, &mut routes, news)?);
        }
        Ok(())
    }

    fn row(
        &self,
        name: &'static str,
        by: By,
        subject: &mut dyn Subject,
        routes: &mut Vec<Route>,
        news: &mut dyn FnMut(News<'_>),
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
            news(News::At { operation: name, place: row.chosen, of: places.len() });
            row.chosen += 1;
            let surveyed = routes.len();
            let killed = kill(subject, place, routes, most)?;
            if routes.len() > surveyed && self.thoroughness == Thoroughness::Every {
                let more = routes.iter().flat_map(Route::instructions);
                places.extend(more.filter(|place| known.insert(*place)));
            }
            match killed {
                Ok(None) => continue,
                Ok(Some(going)) => row.stepped += usize::from(going == Going::BySteps),
                Err(wrong) => {
                    row.lost += 1;
                    row.first.get_or_insert_with(|| format!("at {place}: {wrong}"));
                }
            }
            row.points += 1;
        }
        news(News::Done(&row));
        Ok(Some(row))
    }
}

impl fmt::Debug for Sweep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep").field("backend", &self.backend).field("thoroughness", &self.thoroughness).finish_non_exhaustive()
    }
}

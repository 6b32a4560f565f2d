//! A soak test, which kills processes at random while they lock, allocate and free ids.
//!
//! Forked *workers*, every other one with two threads, acquire a few locks and increment counters that only the owner of a lock may
//! change. The driver kills workers that it observes in a critical section, sometimes a random one, and replaces them immediately.
//! One worker, the *witness*, is never killed; it measures waits. Every few seconds the driver stops all workers. A worker that does
//! not end waits for a lost lock or a lost wake-up. A process that is never killed, the *inspector*, then acquires every lock, checks
//! every counter, and allocates every id.
//!
//! A soak test works with any backend with numbered locks that recover. It forks, so only a single-threaded process may call it.

mod audit_log;
mod inspector;
mod totals;
mod worker;
mod workers;

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use lock_core::{Backend, Capacity, Labels, Numbering, OpenMode, OwnerDeath, Sharing, Store, StoreUrl};

use self::audit_log::AuditLog;
pub use self::totals::Totals;
use self::workers::Workers;
use crate::shared_memory::SLOTS;

/// Number of concurrent workers.
const WORKERS: usize = 6;
/// The worker that is never killed.
const WITNESS: usize = 0;
/// The process that runs when all workers have stopped.
const INSPECTOR: usize = WORKERS;
const _: () = assert!((WORKERS + 1) * 2 <= SLOTS);
/// Number of locks that protect critical sections.
const LOCKS: usize = 8;
/// Capacity of the store, if the backend lets the creator choose it.
const CAPACITY: u64 = 70;
/// A wait longer than this counts as a lost lock.
const BOUND: Duration = Duration::from_secs(20);
/// Interval between inspections.
const ROUND: Duration = Duration::from_secs(2);
/// Interval between progress reports.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Label of the ids that stay allocated.
const KEPT: &str = "kept";
/// Label of the ids that workers allocate and free.
const CHURNED: &str = "churned";

/// A progress report of a running soak test.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The totals so far.
    Storm(&'a Totals),
    /// The totals after an inspection, with all workers stopped.
    Calm(&'a Totals),
    /// A violation or an error.
    Wrong(&'a str),
}

/// A soak test of a backend.
pub struct Soak<'a> {
    backend: &'a Backend,
    url: &'a dyn Fn(&Path) -> String,
    kills: u64,
    time: Duration,
    namespaces: usize,
}

impl<'a> Soak<'a> {
    /// Creates a soak test of 1,000 kills. `url` returns the URL of a store in a directory.
    pub fn new(backend: &'a Backend, url: &'a dyn Fn(&Path) -> String) -> Self {
        Self { backend, url, kills: 1000, time: Duration::MAX, namespaces: 1 }
    }

    /// Sets the number of kills.
    #[must_use]
    pub fn kills(mut self, kills: u64) -> Self {
        self.kills = kills;
        self
    }

    /// Limits the duration, accurate to a few seconds.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Runs every `n`th worker in the caller's PID namespace, and each of the others in a separate one.
    ///
    /// Threads of workers in separate namespaces have equal ids. This requires the right to create PID namespaces.
    #[must_use]
    pub fn namespaces(mut self, n: usize) -> Self {
        self.namespaces = n.max(1);
        self
    }

    /// Returns the reason why a backend cannot be tested, `None` if it can.
    pub fn refusal(backend: &Backend) -> Option<&'static str> {
        let claims = backend.capabilities();
        if claims.numbering != Numbering::Numbered || claims.sharing != Sharing::Processes {
            return Some("the backend has no numbered locks that processes share");
        }
        if claims.owner_death == OwnerDeath::Stuck {
            return Some("the locks of this backend stay locked when their owner dies, so a test cannot continue after a kill");
        }
        None
    }

    /// Runs the test in `scratch`, an empty directory. Stops early if a lock is lost.
    ///
    /// # Errors
    /// Fails if the backend is refused (see [`Soak::refusal`]), the directory is not usable, a fork fails, or the store cannot be created.
    pub fn run(&self, scratch: &Path, report: &mut dyn FnMut(Progress<'_>)) -> io::Result<Totals> {
        if let Some(refusal) = Self::refusal(self.backend) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, refusal));
        }
        let mut workers = self.workers(scratch)?;
        let done = self.run_rounds(&mut workers, report);
        // Destroys the store after a failure too, because not every store is in the directory.
        let _ = workers.store.destroy();
        done
    }

    fn workers(&self, scratch: &Path) -> io::Result<Workers> {
        let claims = self.backend.capabilities();
        let directory = scratch.join("store");
        std::fs::create_dir(&directory)?;
        let mut url = (self.url)(&directory);
        if claims.capacity == Capacity::Chosen {
            url.push_str(if url.contains('?') { "&" } else { "?" });
            url.push_str(&format!("capacity={CAPACITY}"));
        }
        let url: StoreUrl = url.parse().map_err(io::Error::other)?;
        let store = Store::with_backend(self.backend, &url, OpenMode::Create).map_err(io::Error::other)?;
        let label = if claims.labels == Labels::Kept { KEPT } else { "" };
        let locks = (0..LOCKS as u32).map(|id| store.allocate_and_retrieve(id, label)).collect::<Result<_, _>>();
        let locks = locks.map_err(io::Error::other)?;
        let log = AuditLog::create(scratch, store.capacity().unwrap_or(CAPACITY) as usize)?;
        Ok(Workers::new(*self.backend, url, store, locks, log, self.namespaces))
    }

    fn run_rounds(&self, workers: &mut Workers, report: &mut dyn FnMut(Progress<'_>)) -> io::Result<Totals> {
        let (start, mut said) = (Instant::now(), 0);
        loop {
            self.round(workers, start, report)?;
            let totals = workers.log.totals(start.elapsed());
            let complaints = workers.log.complaints(said);
            said += complaints.len();
            complaints.iter().for_each(|wrong| report(Progress::Wrong(wrong)));
            report(Progress::Calm(&totals));
            if totals.kills >= self.kills || totals.time >= self.time || totals.lost > 0 {
                return Ok(totals);
            }
        }
    }

    /// Runs the workers for a few seconds, and then an inspection.
    fn round(&self, workers: &mut Workers, start: Instant, report: &mut dyn FnMut(Progress<'_>)) -> io::Result<()> {
        let (began, mut told) = (Instant::now(), Instant::now());
        workers.start_all()?;
        while workers.log.kills() < self.kills && began.elapsed() < ROUND && start.elapsed() < self.time {
            workers.kill_one()?;
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                report(Progress::Storm(&workers.log.totals(start.elapsed())));
            }
        }
        workers.stop_all()?;
        workers.inspect()?;
        Ok(())
    }
}

impl fmt::Debug for Soak<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Soak").field("backend", &self.backend).field("kills", &self.kills).finish_non_exhaustive()
    }
}

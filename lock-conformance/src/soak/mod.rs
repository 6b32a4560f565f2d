//! A storm: processes do critical sections, allocate and free, and are killed, most of them while they own a lock.
//!
//! Forked workers, every other one with two threads, go over a few locks and count in words that only the owner of a lock may change. The
//! driver kills those that it sees in a critical section, and now and then anybody, and replaces them at once. One of them, the
//! *witness*, is not killed, and shows how long one has to wait. Every few seconds all are told to finish: who does not waits for a lock that is
//! lost, or for somebody to wake it. Then a process that nobody kills takes every lock, compares every sum, and allocates every id.
//!
//! It is for any backend with numbered locks that recover. Since it forks, it has to be called by a process that has a single thread.

mod crew;
mod inspector;
mod ledger;
mod totals;
mod worker;

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use lock_core::{Backend, Capacity, Labels, Numbering, OpenMode, OwnerDeath, Sharing, Store, StoreUrl};

use self::crew::Crew;
use self::ledger::Ledger;
pub use self::totals::Totals;
use crate::arena::SLOTS;

/// Workers at a time.
const CREW: usize = 6;
/// The worker that is not killed, and the one that comes when the others have stopped.
const WITNESS: usize = 0;
const INSPECTOR: usize = CREW;
const _: () = assert!((CREW + 1) * 2 <= SLOTS);
/// Locks that critical sections are done under, and all ids that there are where the creator of a store can choose.
const LOCKS: usize = 8;
const CAPACITY: u64 = 70;
/// A lock for which somebody waits longer is lost.
const BOUND: Duration = Duration::from_secs(20);
/// Between two inspections.
const ROUND: Duration = Duration::from_secs(2);
/// Between two pieces of news.
const NEWS: Duration = Duration::from_millis(200);
/// Labels of the ids of those locks, and of those that are allocated and freed.
const KEPT: &str = "kept";
const CHURNED: &str = "churned";

/// What a storm tells while it goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum News<'a> {
    /// What there was until now.
    Storm(&'a Totals),
    /// The same, and all have stopped and everything was looked at.
    Calm(&'a Totals),
    /// Something is wrong.
    Wrong(&'a str),
}

/// A storm over the locks of a backend.
pub struct Soak<'a> {
    backend: &'a Backend,
    url: &'a dyn Fn(&Path) -> String,
    kills: u64,
    time: Duration,
    namespaces: usize,
}

impl<'a> Soak<'a> {
    /// A storm of 1,000 kills. `url` gives the URL of a store in a directory.
    pub fn new(backend: &'a Backend, url: &'a dyn Fn(&Path) -> String) -> Self {
        Self { backend, url, kills: 1000, time: Duration::MAX, namespaces: 1 }
    }

    /// The same, until there were so many kills.
    #[must_use]
    pub fn kills(mut self, kills: u64) -> Self {
        self.kills = kills;
        self
    }

    /// The same, and no longer than this, to within a few seconds.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The same, with every `n`th worker in the PID namespace of the caller, and each of the others in a separate one, where its threads have
    /// the same ids as theirs. That needs the right to make PID namespaces.
    #[must_use]
    pub fn namespaces(mut self, n: usize) -> Self {
        self.namespaces = n.max(1);
        self
    }

    /// Why there can be no storm over a backend's locks; `None` when there can.
    pub fn refusal(backend: &Backend) -> Option<&'static str> {
        let claims = backend.capabilities();
        if claims.numbering != Numbering::Numbered || claims.sharing != Sharing::Processes {
            return Some("it has no numbered locks that processes share");
        }
        if claims.owner_death == OwnerDeath::Stuck {
            return Some("its locks stay locked when their owner dies, so that the first kill would be the last");
        }
        None
    }

    /// Runs it, in `scratch`, which is an empty directory. It ends early when a lock is lost.
    ///
    /// # Errors
    /// When it cannot be made: see [`Soak::refusal`]; the directory cannot be used, processes cannot be forked, the store cannot be made.
    pub fn run(&self, scratch: &Path, news: &mut dyn FnMut(News<'_>)) -> io::Result<Totals> {
        if let Some(refusal) = Self::refusal(self.backend) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, refusal));
        }
        let mut crew = self.crew(scratch)?;
        let done = self.storm(&mut crew, news);
        // Removed, whatever came of it: not every store is in the directory.
        let _ = crew.store.destroy();
        done
    }

    fn crew(&self, scratch: &Path) -> io::Result<Crew> {
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
        let ledger = Ledger::create(scratch, store.capacity().unwrap_or(CAPACITY) as usize)?;
        Ok(Crew::new(*self.backend, url, store, locks, ledger, self.namespaces))
    }

    fn storm(&self, crew: &mut Crew, news: &mut dyn FnMut(News<'_>)) -> io::Result<Totals> {
        let (start, mut said) = (Instant::now(), 0);
        loop {
            self.round(crew, start, news)?;
            let totals = crew.ledger.totals(start.elapsed());
            let complaints = crew.ledger.complaints(said);
            said += complaints.len();
            complaints.iter().for_each(|wrong| news(News::Wrong(wrong)));
            news(News::Calm(&totals));
            if totals.kills >= self.kills || totals.time >= self.time || totals.lost > 0 {
                return Ok(totals);
            }
        }
    }

    /// Some seconds of it, and an inspection.
    fn round(&self, crew: &mut Crew, start: Instant, news: &mut dyn FnMut(News<'_>)) -> io::Result<()> {
        let (began, mut told) = (Instant::now(), Instant::now());
        crew.muster()?;
        while crew.ledger.kills() < self.kills && began.elapsed() < ROUND && start.elapsed() < self.time {
            crew.strike()?;
            if told.elapsed() >= NEWS {
                told = Instant::now();
                news(News::Storm(&crew.ledger.totals(start.elapsed())));
            }
        }
        crew.dismiss()?;
        crew.inspect()?;
        Ok(())
    }
}

impl fmt::Debug for Soak<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Soak").field("backend", &self.backend).field("kills", &self.kills).finish_non_exhaustive()
    }
}

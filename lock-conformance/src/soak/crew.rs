//! The processes of a storm: forked, aimed at, killed, replaced.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Backend, Lock, OpenMode, Store, StoreUrl};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::ledger::{self, Ledger, Mark};
use super::worker::Worker;
use super::{BOUND, CREW, INSPECTOR, LOCKS, WITNESS};
use crate::sys;

/// How long a kill waits for somebody to be in a critical section.
const PATIENCE: Duration = Duration::from_millis(2);
/// Every so many workers, one opens the store for itself; the others go on with what they inherited.
const OPENS: u32 = 4;

/// Workers are nicer than the driver, who would come too late to kill one inside.
const NICE: i32 = 10;

/// The workers, and what they work on.
pub(super) struct Crew {
    pub(super) backend: Backend,
    pub(super) url: StoreUrl,
    pub(super) store: Store,
    pub(super) locks: Vec<Lock>,
    pub(super) ledger: Ledger,
    running: [Option<Mark>; CREW + 1],
    /// Those of them that were killed, and may not be dead yet.
    dying: Vec<Mark>,
    counts: [u32; CREW + 1],
    random: u64,
    namespaces: usize,
}

impl Crew {
    pub(super) fn new(
        backend: Backend,
        url: StoreUrl,
        store: Store,
        locks: Vec<Lock>,
        ledger: Ledger,
        namespaces: usize,
    ) -> Self {
        let random = u64::from(std::process::id()) << 16 | 1;
        Self {
            backend,
            url,
            store,
            locks,
            ledger,
            running: [None; CREW + 1],
            dying: Vec::new(),
            counts: [0; CREW + 1],
            random,
            namespaces,
        }
    }

    /// Starts everybody.
    pub(super) fn muster(&mut self) -> nix::Result<()> {
        self.ledger.arena.go_on();
        (0..CREW).try_for_each(|worker| self.start(worker))
    }

    /// Kills one, who is in a critical section at this moment, or anybody at any moment; and replaces it.
    pub(super) fn strike(&mut self) -> nix::Result<()> {
        let aimed = if self.random(4) == 0 { None } else { self.owner() };
        let victim = match aimed {
            Some(owner) => owner,
            None => {
                let pause = Duration::from_micros(self.random(300));
                thread::sleep(pause);
                let first = self.random((CREW - 1) as u64) as usize;
                let mut workers = (0..CREW - 1).map(|n| WITNESS + 1 + (first + n) % (CREW - 1));
                let alive = workers.find_map(|worker| self.running[worker].filter(|mark| !self.dying.contains(mark)));
                alive.expect("somebody is always left")
            }
        };
        self.ledger.is_doomed(victim, aimed.is_some());
        self.shoot(victim)?;
        self.dying.push(victim);
        self.replace_the_dead()
    }

    /// Puts others in the places of those who have died; waits for that only where nobody else is left to kill: to die can take long.
    fn replace_the_dead(&mut self) -> nix::Result<()> {
        let mut left = CREW - 1 - self.dying.len();
        for victim in std::mem::take(&mut self.dying) {
            let flag = if left == 0 { None } else { Some(WaitPidFlag::WNOHANG) };
            match waitpid(Pid::from_raw(victim.pid().cast_signed()), flag)? {
                WaitStatus::StillAlive => self.dying.push(victim),
                status => {
                    self.has_died(victim, status);
                    self.start(victim.worker())?;
                    left += 1;
                }
            }
        }
        Ok(())
    }

    /// One that is in a critical section and may be killed.
    fn owner(&mut self) -> Option<Mark> {
        let (start, first) = (Instant::now(), self.random(LOCKS as u64) as usize);
        while start.elapsed() < PATIENCE {
            let found =
                (0..LOCKS).filter_map(|lock| Mark::inside(self.ledger.arena.place((first + lock) % LOCKS))).find(|mark| {
                    mark.worker() != WITNESS && self.running[mark.worker()] == Some(*mark) && !self.dying.contains(mark)
                });
            if found.is_some() {
                return found;
            }
            thread::yield_now();
        }
        None
    }

    /// Sends the signal.
    fn shoot(&mut self, victim: Mark) -> nix::Result<()> {
        kill(Pid::from_raw(victim.pid().cast_signed()), Signal::SIGKILL)?;
        // To die, it has to get a processor, and others want them.
        let _ = sys::set_nice(victim.pid(), 0);
        Ok(())
    }

    fn kill(&mut self, victim: Mark) -> nix::Result<()> {
        self.shoot(victim)?;
        let status = waitpid(Pid::from_raw(victim.pid().cast_signed()), None)?;
        self.has_died(victim, status);
        Ok(())
    }

    fn has_died(&mut self, victim: Mark, status: WaitStatus) {
        if !matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)) {
            self.ledger.crashed(&format!("a worker ended by itself: {status:?}"));
        }
        self.is_reaped(victim);
    }

    fn is_reaped(&mut self, mark: Mark) {
        self.ledger.is_reaped(mark.serial());
        self.running[mark.worker()] = None;
    }

    /// Lets everybody finish; who does not, waits for what does not come.
    pub(super) fn dismiss(&mut self) -> nix::Result<()> {
        self.ledger.arena.stop();
        for victim in std::mem::take(&mut self.dying) {
            self.kill(victim)?;
        }
        self.gather(BOUND)
    }

    /// Waits for everybody who runs to end.
    fn gather(&mut self, bound: Duration) -> nix::Result<()> {
        let deadline = Instant::now() + bound;
        while let Some(mark) = self.running.iter().flatten().next().copied() {
            match waitpid(Pid::from_raw(mark.pid().cast_signed()), Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive if Instant::now() < deadline => thread::sleep(Duration::from_micros(500)),
                WaitStatus::StillAlive => {
                    let wait = self.ledger.longest_wait(mark.worker());
                    self.ledger.lost(&format!("worker {} ({}) does not end; it waits for {wait:?}", mark.worker(), mark.pid()));
                    self.kill(mark)?;
                }
                WaitStatus::Exited(_, 0) => self.is_reaped(mark),
                status => {
                    self.ledger.crashed(&format!("a worker ended by itself: {status:?}"));
                    self.is_reaped(mark);
                }
            }
        }
        Ok(())
    }

    /// Looks at everything, from a process that nobody kills.
    pub(super) fn inspect(&mut self) -> nix::Result<()> {
        self.start(INSPECTOR)?;
        // Each of the locks may take its time.
        self.gather(BOUND * (LOCKS as u32 + 1))
    }

    fn start(&mut self, worker: usize) -> nix::Result<()> {
        self.counts[worker] += 1;
        let serial = ledger::serial(worker, self.counts[worker]);
        self.ledger.begins(serial);
        let apart = worker != INSPECTOR && !worker.is_multiple_of(self.namespaces);
        let Some(pid) = (if apart { fork_apart()? } else { sys::fork()? }) else {
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            let _ = sys::set_nice(0, NICE);
            let done = catch_unwind(AssertUnwindSafe(|| self.work(serial)));
            sys::exit_now(done.map_or(101, |()| 0));
        };
        self.running[worker] = Some(Mark::new(serial, pid.as_raw().unsigned_abs()));
        Ok(())
    }

    fn work(&self, serial: u32) {
        let claims = self.backend.capabilities();
        let several = self.namespaces > 1;
        if !self.counts[Mark::new(serial, 0).worker()].is_multiple_of(OPENS) {
            return Worker::new(&self.ledger, claims, &self.store, &self.locks, serial, several).work();
        }
        let opened = Store::with_backend(&self.backend, &self.url, OpenMode::Open).and_then(|store| {
            (0..LOCKS as u32).map(|id| store.retrieve(id)).collect::<Result<Vec<_>, _>>().map(|locks| (store, locks))
        });
        match opened {
            Ok((store, locks)) => Worker::new(&self.ledger, claims, &store, &locks, serial, several).work(),
            Err(error) => self.ledger.lost(&format!("the store does not open: {error}")),
        }
    }

    /// A number below `bound`, which has to be no better than that.
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

/// Forks a child into a PID namespace of which it is the first process.
fn fork_apart() -> nix::Result<Option<Pid>> {
    let own = File::open("/proc/self/ns/pid").map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let forked = sys::fork();
    if !matches!(forked, Ok(None)) {
        // The next child is for this one's namespace again.
        setns(&own, CloneFlags::CLONE_NEWPID)?;
    }
    forked
}

impl Drop for Crew {
    fn drop(&mut self) {
        for mark in self.running.into_iter().flatten() {
            let _ = self.kill(mark);
        }
    }
}

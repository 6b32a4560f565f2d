//! The worker processes of a soak test: forking, killing and replacing them.

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

use super::audit_log::{self, AuditLog, Mark};
use super::worker::Worker;
use super::{BOUND, INSPECTOR, LOCKS, WITNESS, WORKERS};
use crate::sys;

/// Time limit to find a worker in a critical section before a kill.
const PATIENCE: Duration = Duration::from_millis(2);
/// One in this many workers opens the store; the others use the inherited handles.
const OPENS: u32 = 4;

/// Nice value of the workers.
///
/// The driver has priority, so that it can kill a worker before it leaves its critical section.
const NICE: i32 = 10;

/// The workers, with the store and the shared words that they use.
pub(super) struct Workers {
    pub(super) backend: Backend,
    pub(super) url: StoreUrl,
    pub(super) store: Store,
    pub(super) locks: Vec<Lock>,
    pub(super) log: AuditLog,
    running: [Option<Mark>; WORKERS + 1],
    /// Workers that were sent a SIGKILL and are not reaped yet.
    dying: Vec<Mark>,
    counts: [u32; WORKERS + 1],
    random: u64,
    namespaces: usize,
}

impl Workers {
    pub(super) fn new(backend: Backend, url: StoreUrl, store: Store, locks: Vec<Lock>, log: AuditLog, namespaces: usize) -> Self {
        let random = u64::from(std::process::id()) << 16 | 1;
        Self {
            backend,
            url,
            store,
            locks,
            log,
            running: [None; WORKERS + 1],
            dying: Vec::new(),
            counts: [0; WORKERS + 1],
            random,
            namespaces,
        }
    }

    /// Starts all workers.
    pub(super) fn start_all(&mut self) -> nix::Result<()> {
        self.log.memory.go_on();
        (0..WORKERS).try_for_each(|worker| self.start(worker))
    }

    /// Kills a worker and replaces it: usually one that is in a critical section, sometimes a random one.
    pub(super) fn kill_one(&mut self) -> nix::Result<()> {
        let aimed = if self.random(4) == 0 { None } else { self.owner() };
        let mark = match aimed {
            Some(owner) => owner,
            None => {
                let pause = Duration::from_micros(self.random(300));
                thread::sleep(pause);
                let first = self.random((WORKERS - 1) as u64) as usize;
                let mut workers = (0..WORKERS - 1).map(|n| WITNESS + 1 + (first + n) % (WORKERS - 1));
                let alive = workers.find_map(|worker| self.running[worker].filter(|mark| !self.dying.contains(mark)));
                alive.expect("at least one worker is alive")
            }
        };
        self.log.is_doomed(mark, aimed.is_some());
        self.send_kill(mark)?;
        self.dying.push(mark);
        self.replace_the_dead()
    }

    /// Replaces the workers that have died.
    ///
    /// Waits for a death, which can take long, only if no other worker is alive.
    fn replace_the_dead(&mut self) -> nix::Result<()> {
        let mut left = WORKERS - 1 - self.dying.len();
        for mark in std::mem::take(&mut self.dying) {
            let flag = if left == 0 { None } else { Some(WaitPidFlag::WNOHANG) };
            match waitpid(Pid::from_raw(mark.pid().cast_signed()), flag)? {
                WaitStatus::StillAlive => self.dying.push(mark),
                status => {
                    self.has_died(mark, status);
                    self.start(mark.worker())?;
                    left += 1;
                }
            }
        }
        Ok(())
    }

    /// Returns a worker that is in a critical section and may be killed.
    fn owner(&mut self) -> Option<Mark> {
        let (start, first) = (Instant::now(), self.random(LOCKS as u64) as usize);
        while start.elapsed() < PATIENCE {
            let found = (0..LOCKS).filter_map(|lock| Mark::inside(self.log.memory.place((first + lock) % LOCKS))).find(|mark| {
                mark.worker() != WITNESS && self.running[mark.worker()] == Some(*mark) && !self.dying.contains(mark)
            });
            if found.is_some() {
                return found;
            }
            thread::yield_now();
        }
        None
    }

    /// Sends SIGKILL to a worker.
    fn send_kill(&mut self, mark: Mark) -> nix::Result<()> {
        kill(Pid::from_raw(mark.pid().cast_signed()), Signal::SIGKILL)?;
        // The process must be scheduled in order to die, and competes with the other workers for a processor.
        let _ = sys::set_nice(mark.pid(), 0);
        Ok(())
    }

    fn kill(&mut self, mark: Mark) -> nix::Result<()> {
        self.send_kill(mark)?;
        let status = waitpid(Pid::from_raw(mark.pid().cast_signed()), None)?;
        self.has_died(mark, status);
        Ok(())
    }

    fn has_died(&mut self, mark: Mark, status: WaitStatus) {
        if !matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)) {
            self.log.crashed(&format!("a worker ended without a kill: {status:?}"));
        }
        self.is_reaped(mark);
    }

    fn is_reaped(&mut self, mark: Mark) {
        self.log.is_reaped(mark.serial());
        self.running[mark.worker()] = None;
    }

    /// Stops all workers. A worker that does not end waits for a lost lock or a lost wake-up.
    pub(super) fn stop_all(&mut self) -> nix::Result<()> {
        self.log.memory.stop();
        for mark in std::mem::take(&mut self.dying) {
            self.kill(mark)?;
        }
        self.gather(BOUND)
    }

    /// Waits until all running workers have ended.
    fn gather(&mut self, bound: Duration) -> nix::Result<()> {
        let deadline = Instant::now() + bound;
        while let Some(mark) = self.running.iter().flatten().next().copied() {
            match waitpid(Pid::from_raw(mark.pid().cast_signed()), Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive if Instant::now() < deadline => thread::sleep(Duration::from_micros(500)),
                WaitStatus::StillAlive => {
                    let wait = self.log.longest_wait(mark.worker());
                    self.log.lost(&format!("worker {} ({}) does not end; it waits for {wait:?}", mark.worker(), mark.pid()));
                    self.kill(mark)?;
                }
                WaitStatus::Exited(_, 0) => self.is_reaped(mark),
                status => {
                    self.log.crashed(&format!("a worker ended without a kill: {status:?}"));
                    self.is_reaped(mark);
                }
            }
        }
        Ok(())
    }

    /// Checks everything, in a process that is never killed.
    pub(super) fn inspect(&mut self) -> nix::Result<()> {
        self.start(INSPECTOR)?;
        // Each lock may take up to `BOUND`.
        self.gather(BOUND * (LOCKS as u32 + 1))
    }

    fn start(&mut self, worker: usize) -> nix::Result<()> {
        self.counts[worker] += 1;
        let serial = audit_log::serial(worker, self.counts[worker]);
        self.log.begins(serial);
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
            return Worker::new(&self.log, claims, &self.store, &self.locks, serial, several).work();
        }
        let opened = Store::with_backend(&self.backend, &self.url, OpenMode::Open).and_then(|store| {
            (0..LOCKS as u32).map(|id| store.retrieve(id)).collect::<Result<Vec<_>, _>>().map(|locks| (store, locks))
        });
        match opened {
            Ok((store, locks)) => Worker::new(&self.log, claims, &store, &locks, serial, several).work(),
            Err(error) => self.log.lost(&format!("the store cannot be opened: {error}")),
        }
    }

    /// Returns a pseudo-random number below `bound` (xorshift64).
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound
    }
}

/// Forks a child that is the first process of a new PID namespace.
fn fork_apart() -> nix::Result<Option<Pid>> {
    let own = File::open("/proc/self/ns/pid").map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let forked = sys::fork();
    if !matches!(forked, Ok(None)) {
        // The next child belongs to this process's namespace again.
        setns(&own, CloneFlags::CLONE_NEWPID)?;
    }
    forked
}

impl Drop for Workers {
    fn drop(&mut self) {
        for mark in self.running.into_iter().flatten() {
            let _ = self.kill(mark);
        }
    }
}

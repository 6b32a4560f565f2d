//! A process that forks many times while its other threads use locks.

use std::hint::spin_loop;
use std::io::Write;
use std::os::fd::RawFd;
use std::process;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Error, Lock, Result, Store};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::handlers::PROGRAMS_MUTEX;
use super::loops::{number, shared};
use super::worker::{Worker, id_of};
use crate::protocol::{Fields, list};
use crate::shared_memory::SharedMemory;
use crate::sys;

/// Number of parts into which a thread divides its acquisitions, and number of forks of another thread meanwhile, for each part.
const PARTS: usize = 16;
const FORKS_PER_PART: usize = 3;

/// Pauses between forks are different multiples of this. An acquisition takes a few of them.
const PHASE: Duration = Duration::from_micros(15);
const PHASES: usize = 16;

/// Time after which a process that forks many times stops, if it has forked this often.
const LONG_FORKING: Duration = Duration::from_secs(1);
const FEWEST_FORKS: usize = 15;

/// The acquisitions that the locking thread has begun, and the forks that the forking thread has done.
static ACQUISITIONS: AtomicUsize = AtomicUsize::new(0);
static FORKED: AtomicUsize = AtomicUsize::new(0);

fn wait_for(count: usize, counter: &AtomicUsize) {
    while counter.load(Ordering::Acquire) < count {
        thread::yield_now();
    }
}

impl Worker {
    pub(super) fn fork_many_times(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("fork_many", [count]) => self.fork_many(number(count)),
            ("fork_beside_locks", [suite, locks]) => self.fork_beside_locks(suite.parse().expect("a pid"), number(locks)),
            ("fork_and_lock", [count, milliseconds, locks @ ..]) => {
                self.fork_and_lock(number(count), number(milliseconds) as u64, locks)
            }
            ("open_under_mutex", [memory, url, lock]) => self.open_under_mutex(shared(memory), url, lock),
            ("make_handles_and_try", [memory, locks @ ..]) => self.make_handles_and_try(shared(memory), locks),
            ("lock_beside_forks", locks) => self.lock_beside_forks(locks),
            ("release_all", []) => {
                self.guards.clear();
                Ok(Fields::new())
            }
            _ => return None,
        })
    }

    /// Forks children that exit immediately.
    ///
    /// Where forks wait for other threads, fewer than `count` suffice.
    fn fork_many(&self, count: usize) -> Result<Fields> {
        self.begin();
        let began = Instant::now();
        for done in 0..count {
            if done >= FEWEST_FORKS && began.elapsed() > LONG_FORKING {
                break;
            }
            end_of_child(&|| Ok(()))?;
        }
        Ok(Fields::new())
    }

    /// Forks children that stay alive and idle, spread over the acquisitions of [`Self::lock_beside_forks`].
    fn fork_beside_locks(&self, suite: i32, locks: usize) -> Result<Fields> {
        self.begin();
        // The descriptors are read before the fork: another thread may hold the mutex of the socket during it.
        let link_fds = self.peer.link_fds();
        let mut children = Vec::new();
        for fork in 0..PARTS * FORKS_PER_PART {
            wait_for(fork / FORKS_PER_PART * locks / PARTS, &ACQUISITIONS);
            let phase = (fork * 7 + process::id() as usize) % PHASES;
            let began = Instant::now();
            while began.elapsed() < PHASE * phase as u32 {
                spin_loop();
            }
            match sys::fork().map_err(|errno| Error::system("fork", errno))? {
                Some(child) => children.push(child.as_raw().cast_unsigned()),
                None => idle(&link_fds, Pid::from_raw(suite)),
            }
            FORKED.store(fork + 1, Ordering::Release);
        }
        Ok(Fields::new().with("pids", list(children)))
    }

    /// Forks `count` children, or fewer if that takes long.
    ///
    /// They acquire and release each lock, alternately by inherited and new handles.
    fn fork_and_lock(&self, count: usize, milliseconds: u64, locks: &[&str]) -> Result<Fields> {
        let (store, handles) = (self.store(), locks.iter().map(|lock| self.handle(lock)).collect::<Result<Vec<_>>>()?);
        let (began, mut children) = (Instant::now(), 0);
        self.begin();
        while children < count && began.elapsed() < Duration::from_millis(milliseconds) {
            end_of_child(&|| {
                for (n, (name, inherited)) in locks.iter().zip(&handles).enumerate() {
                    if (n + children) % 2 == 0 {
                        inherited.lock()?.unlock()?;
                    } else {
                        made(&store, name)?.lock()?.unlock()?;
                    }
                }
                Ok(())
            })?;
            children += 1;
        }
        Ok(Fields::new().with("children", children))
    }

    /// Opens the store and tries a lock until the shared memory says stop, under the program's mutex each time.
    fn open_under_mutex(&self, memory: SharedMemory, url: &str, lock: &str) -> Result<Fields> {
        let store = self.store();
        // Excludes the work that a thread does for its first lock only.
        drop(made(&store, lock)?.try_lock()?);
        self.begin();
        memory.wait_for_go();
        while !memory.is_stopped() {
            let _mutex = PROGRAMS_MUTEX.lock().unwrap_or_else(PoisonError::into_inner);
            drop(made(&store, lock)?.try_lock()?);
            drop(made(&self.open("open", url)?, lock)?.try_lock()?);
        }
        Ok(Fields::new())
    }

    /// Makes a handle and tries its lock, until the shared memory says stop.
    fn make_handles_and_try(&self, memory: SharedMemory, locks: &[&str]) -> Result<Fields> {
        let (store, mut rounds) = (self.store(), 0_u64);
        self.begin();
        memory.wait_for_go();
        for name in locks.iter().cycle().take_while(|_| !memory.is_stopped()) {
            if let Some(guard) = made(&store, name)?.try_lock()? {
                guard.unlock()?;
            }
            rounds += 1;
        }
        Ok(Fields::new().with("rounds", rounds))
    }

    /// Makes a handle for each lock and acquires it, not faster than [`Self::fork_beside_locks`] forks.
    fn lock_beside_forks(&mut self, locks: &[&str]) -> Result<Fields> {
        let store = self.store();
        self.begin();
        for (n, name) in locks.iter().enumerate() {
            wait_for(n * PARTS / locks.len() + 1, &FORKED);
            ACQUISITIONS.store(n + 1, Ordering::Release);
            let guard = made(&store, name)?.lock_owned()?;
            self.guards.insert((*name).to_owned(), guard);
        }
        Ok(Fields::new())
    }
}

/// Creates a handle.
fn made(store: &Store, lock: &str) -> Result<Lock> {
    if lock == "-" { store.single() } else { store.retrieve(id_of(lock)) }
}

/// Sleeps until the suite has ended.
///
/// The suite kills idle children before that, unless it is killed itself.
fn idle(link_fds: &[RawFd], suite: Pid) -> ! {
    // The suite interprets the end of the parent's socket as the end of the parent.
    link_fds.iter().for_each(|number| drop(sys::give_up(*number)));
    while kill(suite, None) != Err(Errno::ESRCH) {
        thread::sleep(Duration::from_millis(100));
    }
    sys::exit_now(0)
}

/// Forks a child that does the work, and waits for its end.
fn end_of_child(work: &dyn Fn() -> Result<()>) -> Result<()> {
    let parent = process::id();
    match sys::fork().map_err(|errno| Error::system("fork", errno))? {
        Some(child) => match waitpid(child, None).map_err(|errno| Error::system("waitpid", errno))? {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => panic!("a forked child ended with {other:?}"),
        },
        None => {
            let _ = prctl::set_pdeathsig(Signal::SIGKILL);
            if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
                sys::exit_now(6);
            }
            let done = work();
            if let Err(error) = &done {
                let _ = writeln!(std::io::stderr(), "a forked child of {parent} was refused: {error}");
            }
            sys::exit_now(if done.is_ok() { 0 } else { 5 })
        }
    }
}

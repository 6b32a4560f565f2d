//! podman's volumes, which need no container runtime. Each volume has a lock.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Guard, Lock, LockId, OpenMode, Store};
use memmap2::{MmapOptions, MmapRaw};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};

/// A time limit that no test reaches.
const WATCHDOG: Duration = Duration::from_secs(60);

/// The number of attempts to stop podman while it holds a lock.
const ATTEMPTS: u32 = 50;

/// Mounts empty file systems that only this process and its children see.
fn enter() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    for path in ["/dev/shm", "/run", "/var/lib/containers"] {
        fs::create_dir_all(path).unwrap();
        mount(Some("tmpfs"), Path::new(path), Some("tmpfs"), MsFlags::empty(), Some("size=256m")).unwrap();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn start(arguments: &[&str]) -> Child {
    command(arguments).spawn().unwrap()
}

fn succeeds(child: Child) {
    let ran = child.wait_with_output().unwrap();
    assert!(ran.status.success(), "podman: {}: {}", ran.status, String::from_utf8_lossy(&ran.stderr));
}

fn podman(arguments: &[&str]) {
    succeeds(start(arguments));
}

fn segment(mode: OpenMode) -> Store {
    Store::with_backend(&lock_podman::BACKEND, &"podman:libpod_lock".parse().unwrap(), mode).unwrap()
}

fn ids(store: &Store) -> Vec<u32> {
    store.allocated().unwrap().into_iter().map(|found| found.id.get()).collect()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WATCHDOG, "after {WATCHDOG:?}, it is not true that {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Creates a volume, and returns the segment and the lock of the volume.
fn volume() -> (Store, Lock) {
    enter();
    podman(&["volume", "create", "v"]);
    let store = segment(OpenMode::Open);
    assert_eq!((ids(&store), store.capacity()), (vec![0], Some(2048)));
    let lock = store.retrieve(0).unwrap();
    (store, lock)
}

/// Waits until this process waits for the lock 0.
fn waits(store: &Store, podman: &mut Child) {
    wait_until("podman waits for the lock", || {
        store
            .waiting()
            .unwrap()
            .waiters
            .iter()
            .any(|waiter| waiter.id == LockId::new(0) && waiter.thread.pid == podman.id() && !waiter.is_lost)
    });
    assert!(podman.try_wait().unwrap().is_none());
}

pub(crate) fn podman_waits_for_a_guard_and_is_listed() {
    let (store, lock) = volume();
    let guard = lock.lock().unwrap();
    let mut removing = start(&["volume", "rm", "v"]);
    waits(&store, &mut removing);
    let waits = store.waiting().unwrap();
    assert!(waits.waiters.iter().all(|waiter| waiter.thread.command.contains("volume rm v")), "{waits:?}");
    assert_eq!(store.held().unwrap()[0].holder.as_ref().map(|holder| holder.pid), Some(std::process::id()));
    guard.unlock().unwrap();
    succeeds(removing);
    assert_eq!(ids(&store), [0; 0]);
}

/// Forks a child that holds the lock.
fn owner_of(lock: &Lock) -> Pid {
    // SAFETY: this process has one thread, so no lock of the C library is held in the child.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            set_pdeathsig(Signal::SIGKILL).unwrap();
            let _guard = lock.lock().unwrap();
            loop {
                nix::unistd::pause();
            }
        }
        ForkResult::Parent { child } => {
            wait_until("the child holds the lock", || lock.holder().unwrap().is_some());
            child
        }
    }
}

pub(crate) fn podman_gets_the_lock_of_a_killed_owner() {
    let (store, lock) = volume();
    let owner = owner_of(&lock);
    let mut removing = start(&["volume", "rm", "v"]);
    waits(&store, &mut removing);
    kill(owner, Signal::SIGKILL).unwrap();
    succeeds(removing);
}

/// The word of the mutex of the lock 0, which is 0 if the lock is free.
struct Word(MmapRaw);

impl Word {
    /// The offset of the first mutex.
    const OFFSET: usize = 64;

    fn map() -> Self {
        let file = fs::File::options().read(true).write(true).open("/dev/shm/libpod_lock").unwrap();
        Self(MmapOptions::new().map_raw(&file).unwrap())
    }

    fn is_held(&self) -> bool {
        // SAFETY: the mapping contains the whole segment and lives as long as `self`. All accesses are atomic.
        let word: &AtomicU32 = unsafe { &*self.0.as_ptr().add(Self::OFFSET).cast() };
        word.load(SeqCst) != 0
    }
}

/// A podman process that holds the lock 0 and is stopped. It is killed on drop.
struct Stopped(Child);

impl Stopped {
    /// Removes the volume until podman is stopped while it holds the lock.
    fn while_it_holds(lock: &Lock) -> Self {
        let word = Word::map();
        for _ in 0..ATTEMPTS {
            let mut podman = start(&["volume", "rm", "v"]);
            let pid = Pid::from_raw(podman.id().try_into().unwrap());
            while podman.try_wait().unwrap().is_none() {
                // Waiting for the process costs much more than reading the word.
                if !(0..10_000).any(|_| word.is_held()) {
                    continue;
                }
                kill(pid, Signal::SIGSTOP).unwrap();
                let status = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
                wait_until("podman is stopped", || status().contains(") T ") || status().contains(") Z "));
                if lock.holder().unwrap().is_some_and(|holder| holder.pid == podman.id()) {
                    return Self(podman);
                }
                kill(pid, Signal::SIGCONT).unwrap();
            }
            command(&["volume", "create", "v"]).status().unwrap();
        }
        panic!("podman could not be stopped while it holds the lock in {ATTEMPTS} attempts");
    }

    fn resume(mut self) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGCONT).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn a_guard_waits_for_podman_and_names_it() {
    let (store, lock) = volume();
    let podman = Stopped::while_it_holds(&lock);
    let error = lock.try_lock_for(Duration::from_millis(50)).unwrap_err();
    let holder = error.holder().unwrap_or_else(|| panic!("the owner is not named: {error}"));
    assert!(holder.pid == podman.0.id() && holder.command.starts_with("podman volume rm"), "{error}");
    let held = store.held().unwrap();
    assert!(held.iter().any(|held| held.id == LockId::new(0) && held.doubt.is_none()), "{held:?}");
    podman.resume();
    lock.try_lock_for(WATCHDOG).unwrap().unlock().unwrap();
}

pub(crate) fn the_lock_of_a_killed_podman_is_recovered_with_a_report() {
    let (_store, lock) = volume();
    let podman = Stopped::while_it_holds(&lock);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| recover(&lock));
        wait_until("the guard waits", || !waiter.is_finished());
        drop(podman);
        waiter.join().unwrap();
    });
    assert!(lock.lock().unwrap().recovered().is_none());
}

/// Acquires the lock of a dead owner and marks it consistent.
fn recover(lock: &Lock) {
    let mut guard: Guard<'_> = lock.try_lock_for(WATCHDOG).unwrap();
    let death = guard.recovered().expect("the death of podman is reported").clone();
    assert!(death.holder.as_ref().is_some_and(|holder| holder.tid != 0), "{death}");
    guard.mark_consistent().unwrap();
}

pub(crate) fn podman_recovers_a_lock_that_was_not_marked_consistent() {
    let (_store, lock) = volume();
    let owner = owner_of(&lock);
    kill(owner, Signal::SIGKILL).unwrap();
    let guard = lock.try_lock_for(WATCHDOG).unwrap();
    assert_eq!(guard.recovered().and_then(|death| death.holder.as_ref()).map(|holder| holder.pid), Some(owner.as_raw() as u32));
    guard.unlock().unwrap();
    podman(&["volume", "rm", "v"]);
    assert!(lock.lock().unwrap().recovered().is_none(), "podman marks the lock consistent");
}

pub(crate) fn both_allocate_at_once_and_no_id_is_shared() {
    const VOLUMES: usize = 8;
    const ALLOCATIONS: usize = 200;
    let (store, _) = volume();
    let names: Vec<_> = (0..VOLUMES).map(|number| format!("v{number}")).collect();
    let creating: Vec<_> = names.iter().map(|name| start(&["volume", "create", name])).collect();
    let mut ours: Vec<_> = (0..ALLOCATIONS)
        .map(|_| {
            thread::sleep(Duration::from_millis(1));
            store.allocate("").unwrap().id().get()
        })
        .collect();
    creating.into_iter().for_each(succeeds);
    ours.sort_unstable();
    ours.dedup();
    assert_eq!(ours.len(), ALLOCATIONS, "an id was allocated twice");
    assert_eq!(ids(&store).len(), 1 + VOLUMES + ALLOCATIONS, "an id was allocated by both");
    podman(&["system", "renumber"]);
    // podman keeps or makes the segment again.
    let store = segment(OpenMode::Open);
    assert_eq!(ids(&store), (0..=VOLUMES as u32).collect::<Vec<_>>());
    podman(&["volume", "rm", "v"]);
}

pub(crate) fn podman_uses_a_segment_that_this_crate_created() {
    enter();
    let store = segment(OpenMode::Create);
    podman(&["volume", "create", "v"]);
    assert_eq!(ids(&store), [0]);
    let lock = store.allocate("").unwrap();
    assert_eq!(lock.id().get(), 1);
    podman(&["volume", "rm", "v"]);
    assert_eq!(ids(&store), [1]);
    store.check().unwrap();
}

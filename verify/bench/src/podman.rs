//! podman's segment: guards against libc's functions on the same mutexes, and the effect of lists on them.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::effort::Effort;
use crate::peers::podman::Segment;
use crate::process::Process;
use crate::promise;
use crate::rounds::{Subject, compare};
use crate::row::Row;
use crate::scratch::{self, Scratch};

pub(crate) const ROLE: &str = "inspector";
const GROUP: &str = "podman's segment";
const STORE: &str = "podman";
const LOCKS: u32 = 2048;
/// Number of pairs of lock and unlock while the lists are read.
const PAIRS: u32 = 20_000;

pub(crate) fn rows(scratch: &Scratch, effort: &Effort) -> Vec<Row> {
    let store = scratch.create("podman", STORE, "");
    let lock = store.allocate("").expect("a lock");
    let segment = Segment::open(&scratch.path().join(STORE), LOCKS);
    let samples = compare(
        effort.rounds,
        [
            Subject::new("podman", || drop(lock.lock().expect("it is uncontended"))),
            Subject::new("glibc on the same segment", || {
                segment.mutex(1).lock();
                segment.mutex(1).unlock();
            }),
            Subject::new("podman's allocate and free", || {
                let id = segment.allocate().expect("a free id");
                segment.free(id);
            }),
            Subject::new("allocate and free", || {
                let id = store.allocate("").expect("a free id").id();
                store.free(id).expect("it is allocated");
            }),
        ],
    );
    let [ours, glibc, their_allocation, our_allocation] = samples;
    vec![
        ours.beside(&glibc, GROUP, "podman, lock + unlock, uncontended").promise(promise::PODMAN_PAIR_NS),
        our_allocation.beside(&their_allocation, GROUP, "podman, allocate + free"),
        inspected(scratch, &segment, effort),
    ]
}

/// Compares libc's lock and unlock while another process reads the lists with a time when it does not.
fn inspected(scratch: &Scratch, segment: &Segment, effort: &Effort) -> Row {
    let mut inspector = Process::start(ROLE, scratch.path(), &[]).expect("a process");
    inspector.answer();
    let pid = Pid::from_raw(inspector.id().try_into().expect("a pid"));
    let pairs = |signal: Signal| {
        kill(pid, signal).expect("the process runs");
        std::thread::sleep(Duration::from_millis(1));
        let start = Instant::now();
        for _ in 0..PAIRS {
            segment.mutex(1).lock();
            segment.mutex(1).unlock();
        }
        start.elapsed()
    };
    let [beside, alone] = compare(
        effort.slow_rounds,
        [
            Subject::timed("while held() and waiting() run", || pairs(Signal::SIGCONT)),
            Subject::timed("alone", || pairs(Signal::SIGSTOP)),
        ],
    );
    beside
        .beside(&alone, GROUP, format!("glibc, {PAIRS} × lock + unlock, while another process lists owners and waiters"))
        .promise(promise::INSPECTED)
}

/// The role: reads the lists until it is killed.
pub(crate) fn run(scratch: &Path) {
    let store = scratch::open(scratch, "podman", STORE);
    println!("ready");
    loop {
        store.held().expect("a list");
        store.waiting().expect("a list");
    }
}

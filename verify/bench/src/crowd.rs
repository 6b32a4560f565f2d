//! Very many processes with one store open.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use lock_any::Lock;

use crate::effort::Effort;
use crate::peers::glibc::Board;
use crate::peers::podman::Segment;
use crate::process::{self, Process};
use crate::promise;
use crate::rounds::{Subject, compare};
use crate::row::Row;
use crate::scratch::{self, Scratch};
use crate::unit::Unit;

pub(crate) const ROLE: &str = "crowd";
const GROUP: &str = "very many processes on one store";
const STORE: &str = "crowd";
const SEGMENT: &str = "crowd-podman";
const LOCKS: u32 = 2_048;
/// Critical sections of each process on the common lock.
const SECTIONS: u32 = 100;
/// Number of rounds on the common lock.
const STORMS: usize = 6;
/// Counters on the board.
const OURS: usize = 16;
const THEIRS: usize = 17;

pub(crate) fn rows(scratch: &Scratch, board: &Board, effort: &Effort) -> Vec<Row> {
    let [store, alone] = [STORE, "alone"].map(|name| scratch.create("shm", name, ""));
    let segment = Segment::create(&scratch.path().join(SEGMENT), LOCKS);
    let name = |what: &str| format!("{} processes: {what}", effort.crowd);
    let mut crowd: Vec<Process> = Vec::new();
    let (mut open, mut podman) = (Vec::new(), Vec::new());
    for number in 0..effort.crowd {
        match Process::start(ROLE, scratch.path(), &[&number.to_string()]) {
            Ok(mut process) => {
                // One after the other, so that waiting for a processor does not count.
                let [ours, theirs] = process.numbers();
                open.push(ours);
                podman.push(theirs);
                crowd.push(process);
            }
            Err(error) => {
                let why = format!("only {number} processes could be started: {error}");
                return vec![Row::unmeasured(GROUP, name("all together"), Unit::Nanoseconds, why)];
            }
        }
    }
    let first = &open[..open.len().div_ceil(10)];
    let last = &open[open.len() - first.len()..];
    let mut rows = vec![
        Row::new(GROUP, name("open"), Unit::Nanoseconds, &open).against("podman's segment", &open, &podman),
        Row::new(GROUP, name("open, the last tenth of them"), Unit::Nanoseconds, last)
            .against("the first tenth", last, first)
            .promise(promise::OPEN_IN_A_CROWD),
    ];

    let pair = |lock: &Lock| drop(lock.lock().expect("it is uncontended"));
    let [among, by_itself] = [&store, &alone].map(|store| store.retrieve(0).expect("a lock"));
    let subjects =
        [Subject::new("beside them", || pair(&among)), Subject::new("shm, the store of one process", || pair(&by_itself))];
    let [beside, alone] = compare(effort.rounds, subjects);
    rows.push(beside.beside(&alone, GROUP, name("lock + unlock beside them")));

    let mut storms = [Vec::new(), Vec::new()];
    for round in 0..STORMS {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            storms[which].push(storm(&mut crowd, ["ours", "theirs"][which]));
        }
    }
    for counter in [OURS, THEIRS] {
        let count = board.counter(counter).load(Relaxed);
        assert_eq!(count, (STORMS * effort.crowd) as u64 * u64::from(SECTIONS), "a lock let two processes in together");
    }
    let [ours, theirs] = storms;
    let name = name(&format!("{SECTIONS} sections of each, all on one lock"));
    rows.push(Row::new(GROUP, name, Unit::PerSecond, &ours).against("glibc mutex, process-shared, robust", &ours, &theirs));
    drop(crowd);
    segment.destroy();
    rows
}

/// Runs all processes together. Returns critical sections per second.
fn storm(crowd: &mut [Process], whose: &str) -> f64 {
    let start = Instant::now();
    crowd.iter_mut().for_each(|process| process.say(whose));
    crowd.iter_mut().for_each(|process| drop(process.answer()));
    f64::from(SECTIONS) * crowd.len() as f64 / start.elapsed().as_secs_f64()
}

/// Runs one process. It prints the time to open the store and podman's segment, and then obeys orders.
pub(crate) fn run(scratch: &Path, arguments: &[String]) {
    let number: u32 = arguments[0].parse().expect("a number");
    let start = Instant::now();
    let store = scratch::open(scratch, "shm", STORE);
    let ours = start.elapsed();
    let start = Instant::now();
    let segment = Segment::open(&scratch.join(SEGMENT), LOCKS);
    let theirs = start.elapsed();
    // Uses its own lock first.
    let own = store.retrieve(2 + number).expect("a lock");
    (0..SECTIONS).for_each(|_| drop(own.lock().expect("it is uncontended")));
    process::tell(&format!("{} {}", ours.as_nanos(), theirs.as_nanos()));

    let board = Board::open(scratch);
    let lock = store.retrieve(1).expect("a lock");
    for order in process::orders() {
        let ours = order == "ours";
        let counter = board.counter(if ours { OURS } else { THEIRS });
        for _ in 0..SECTIONS {
            if ours {
                let _guard = lock.lock().expect("it can be acquired");
                counter.store(counter.load(Relaxed) + 1, Relaxed);
            } else {
                board.robust().lock();
                counter.store(counter.load(Relaxed) + 1, Relaxed);
                board.robust().unlock();
            }
        }
        process::tell("done");
    }
    drop(segment);
}

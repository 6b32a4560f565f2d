//! The listing commands of `lockctl`, as whole processes on a large store, and their effect on its locks.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lock_any::{LockId, Store};
use nix::sys::resource::{UsageWho, getrusage};

use crate::allocation::has_room;
use crate::effort::Effort;
use crate::process::{self, Process};
use crate::promise;
use crate::row::Row;
use crate::scratch::Scratch;
use crate::unit::Unit;

pub(crate) const ROLE: &str = "lister";
/// Set for a process of this program that runs `lockctl::main`.
pub(crate) const BE_LOCKCTL: &str = "LOCK_BENCH_BE_LOCKCTL";

const GROUP: &str = "lockctl on a large store";
const STORE: &str = "commands";
/// Held locks, spread over the store.
const HELD: u32 = 1_000;
/// Locks that each thread of the load acquires in turn.
const LOADED: u32 = 16;
/// A window is as long as a few lists.
const WINDOW: u32 = 8;

pub(crate) fn rows(scratch: &Scratch, effort: &Effort) -> Vec<Row> {
    let locks = effort.commanded;
    if let Err(why) = has_room(scratch.path(), u64::from(locks) * 200) {
        return vec![Row::unmeasured(GROUP, format!("list of {locks}"), Unit::Nanoseconds, why)];
    }
    let store = scratch.create("shm", STORE, "?capacity=1048576");
    let ids: Vec<_> = (0..locks).map(|id| (LockId::new(id), format!("container {id:032x}"))).collect();
    store.reconcile(ids).expect("all can be allocated");
    let held: Vec<_> = (0..locks).step_by(locks.div_ceil(HELD) as usize).collect();
    let handles: Vec<_> = held.iter().map(|id| store.retrieve(*id).expect("a lock")).collect();
    let guards: Vec<_> = handles.iter().map(|lock| lock.lock().expect("it is uncontended")).collect();

    let mut lister = Process::start(ROLE, scratch.path(), &[&locks.to_string()]).expect("a process");
    lister.answer();
    let mut rows: Vec<_> =
        ["list", "list --json"].into_iter().flat_map(|order| list(&mut lister, order, locks, effort)).collect();
    drop(guards);
    rows.push(loaded(&mut lister, &store, locks, effort));
    drop(lister);
    store.destroy().expect("it is there");
    rows
}

/// Measures the time and the memory of a command.
fn list(lister: &mut Process, order: &str, locks: u32, effort: &Effort) -> [Row; 2] {
    let runs = effort.slow_rounds.min(11);
    let measured: Vec<[f64; 2]> = (0..runs)
        .map(|_| {
            lister.say(order);
            lister.numbers()
        })
        .collect();
    let [times, peaks] = [0, 1].map(|at| measured.iter().map(|numbers| numbers[at]).collect::<Vec<_>>());
    let name = format!("{order} of {locks} allocated locks, {HELD} of them held");
    [
        Row::new(GROUP, name.clone(), Unit::Nanoseconds, &times)
            .promise(promise::LISTED_NS)
            .note("as a whole process, whose output another one reads"),
        Row::new(GROUP, format!("{name}: largest memory"), Unit::Bytes, &peaks).promise(promise::LISTED_BYTES),
    ]
}

/// Compares the throughput of locks beside a loop of listing commands with the throughput without it.
fn loaded(lister: &mut Process, store: &Store, locks: u32, effort: &Effort) -> Row {
    // One processor is for the listing commands, so that they do not compete for the processors of the load.
    let threads = thread::available_parallelism().map_or(1, |count| count.get() - 1).clamp(1, 8) as u32;
    let window = effort.window * WINDOW;
    let mut throughputs = [Vec::new(), Vec::new()];
    for round in 0..effort.windows {
        for turn in 0..2 {
            let is_listed = (round + turn) % 2 == 0;
            if is_listed {
                lister.say(&format!("loop {}", window.as_millis()));
            }
            throughputs[usize::from(!is_listed)].push(load(store, threads, locks, window));
            if is_listed {
                lister.answer();
            }
        }
    }
    let [beside, alone] = throughputs;
    let name = format!("lock + unlock of {threads} threads at full speed, while list and list --json run in a loop");
    Row::new(GROUP, name, Unit::PerSecond, &beside).against("without them", &beside, &alone).promise(promise::LISTED_BESIDE)
}

/// Returns the pairs of lock and unlock per second of all threads, each on its own locks, which are spread over the store.
fn load(store: &Store, threads: u32, locks: u32, window: Duration) -> f64 {
    let step = locks / (threads * LOADED);
    let pairs = |thread: u32| {
        let ids = (0..LOADED).map(|number| (thread * LOADED + number) * step);
        let handles: Vec<_> = ids.map(|id| store.retrieve(id).expect("a lock")).collect();
        let start = Instant::now();
        let mut rounds = 0_u64;
        while start.elapsed() < window {
            for _ in 0..100 {
                handles.iter().for_each(|lock| drop(lock.lock().expect("it is uncontended")));
            }
            rounds += 1;
        }
        (rounds * 100 * u64::from(LOADED)) as f64 / start.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || pairs(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).sum()
    })
}

/// The role: runs listing commands. It has little memory itself, because that of a process counts for the commands that it starts.
///
/// It answers the order `list` or `list --json` with the time in nanoseconds and the largest memory in bytes of any command until now, and
/// `loop MILLISECONDS` when the time is over.
pub(crate) fn run(scratch: &Path, arguments: &[String]) {
    let locks: usize = arguments[0].parse().expect("a number");
    process::tell("ready");
    for order in process::orders() {
        match order.strip_prefix("loop ") {
            None => {
                let start = Instant::now();
                let lines = lockctl(scratch, &order);
                let taken = start.elapsed();
                assert!((locks + 1..=locks + 2).contains(&lines), "{order} wrote {lines} lines");
                let peak = getrusage(UsageWho::RUSAGE_CHILDREN).expect("it is known").max_rss() * 1024;
                process::tell(&format!("{} {peak}", taken.as_nanos()));
            }
            Some(milliseconds) => {
                let until = Instant::now() + Duration::from_millis(milliseconds.parse().expect("a number"));
                let mut commands = ["list", "list --json"].into_iter().cycle();
                while Instant::now() < until {
                    lockctl(scratch, commands.next().expect("it is endless"));
                }
                process::tell("done");
            }
        }
    }
}

/// Runs the command, and returns the number of lines that it writes.
fn lockctl(scratch: &Path, arguments: &str) -> usize {
    let mut command = Command::new("/proc/self/exe");
    command.env(BE_LOCKCTL, "").arg("--store").arg(format!("shm:{}", scratch.join(STORE).display()));
    let mut child = command.args(arguments.split(' ')).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut output = child.stdout.take().expect("it is piped");
    let (mut buffer, mut lines) = (vec![0; 1 << 16], 0);
    loop {
        match output.read(&mut buffer).expect("it is a pipe") {
            0 => break,
            length => lines += buffer[..length].iter().filter(|byte| **byte == b'\n').count(),
        }
    }
    assert!(child.wait().expect("it is ours").success(), "lockctl {arguments} failed");
    lines
}

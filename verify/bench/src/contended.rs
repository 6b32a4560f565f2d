//! Several processes that contend for one lock, and several processes that each use their own lock of one store.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use lock_any::Lock;

use crate::effort::Effort;
use crate::peers::calls;
use crate::peers::glibc::Board;
use crate::peers::podman::Segment;
use crate::process::{self, Process};
use crate::promise;
use crate::row::Row;
use crate::scratch::{self, Scratch};
use crate::sys::Set;
use crate::unit::Unit;

pub(crate) const ROLE: &str = "contender";
const CONTENDED: &str = "several processes, one lock";
const NEIGHBOURS: &str = "several processes, each with its own lock";

/// The work inside and outside the lock, in steps of [`work`].
const INSIDE: u32 = 50;
const OUTSIDE: u32 = 150;
/// Time for all processes to read the order.
const LEAD: Duration = Duration::from_millis(20);

/// The lock of a measurement. The number is the number of its counter on the board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    Shm = 0,
    Robust = 1,
    Plain = 2,
    File = 3,
    Ofd = 4,
    Sem = 5,
    Semop = 6,
    /// Neighbouring ids of one store.
    ShmNeighbours = 7,
    /// Neighbouring mutexes of podman's segment.
    PodmanNeighbours = 8,
}

impl Subject {
    const ALL: [Self; 9] = [
        Self::Shm,
        Self::Robust,
        Self::Plain,
        Self::File,
        Self::Ofd,
        Self::Sem,
        Self::Semop,
        Self::ShmNeighbours,
        Self::PodmanNeighbours,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Shm | Self::ShmNeighbours => "shm",
            Self::Robust => "glibc mutex, process-shared, robust",
            Self::Plain => "glibc mutex, process-shared",
            Self::File => "file",
            Self::Ofd => "bare fcntl (OFD)",
            Self::Sem => "sem",
            Self::Semop => "bare semop (SEM_UNDO)",
            Self::PodmanNeighbours => "podman's segment",
        }
    }
}

/// The result of a process in a window.
struct Done {
    pairs: f64,
    worst_wait_ns: f64,
}

/// The result of all processes in a window.
struct Window {
    per_second: f64,
    worst_wait_ns: f64,
    /// Pairs of each process.
    pairs: Vec<f64>,
}

pub(crate) fn rows(scratch: &Scratch, board: &Board, effort: &Effort) -> Vec<Row> {
    let stores = ["shm", "file", "sem"].map(|scheme| scratch.create(scheme, &format!("contended-{scheme}"), ""));
    let most = effort.contenders.iter().copied().max().unwrap_or(0);
    let segment = Segment::create(&scratch.path().join("contended-podman"), 64);
    let set = scratch.semaphore_set();
    File::create_new(scratch.path().join("contended-ofd")).expect("a file");
    let start = |number: usize| {
        let (number, set) = (number.to_string(), set.id().to_string());
        Process::start(ROLE, scratch.path(), &[&number, &set]).expect("a process")
    };
    let mut processes: Vec<_> = (0..most).map(start).collect();
    // Waits until all processes have started.
    processes.iter_mut().for_each(|process| drop(process.answer()));

    let mut contention = Contention { processes, board, effort };
    let mut rows = Vec::new();
    for number in effort.contenders {
        rows.extend(contention.rows(*number, Subject::Shm, Subject::Robust, true));
    }
    rows.extend(contention.rows(4, Subject::Shm, Subject::Plain, false));
    rows.extend(contention.rows(4, Subject::File, Subject::Ofd, false));
    rows.extend(contention.rows(4, Subject::Sem, Subject::Semop, false));
    for number in effort.contenders.iter().copied().filter(|number| *number <= 4) {
        rows.extend(contention.rows(number, Subject::ShmNeighbours, Subject::PodmanNeighbours, false));
    }
    if let Some(row) = rows.first_mut() {
        let [inside, outside] = [INSIDE, OUTSIDE].map(|steps| Unit::Nanoseconds.show(cost_of(steps)));
        row.note = Some(format!("{inside} of work inside the lock, {outside} and two readings of the clock outside it"));
    }
    drop((stores, segment));
    rows
}

struct Contention<'a> {
    processes: Vec<Process>,
    board: &'a Board,
    effort: &'a Effort,
}

impl Contention<'_> {
    /// Measures both in alternating windows.
    fn rows(&mut self, number: usize, ours: Subject, peer: Subject, is_promised: bool) -> Vec<Row> {
        let mut windows = [Vec::new(), Vec::new()];
        for round in 0..self.effort.windows {
            for turn in 0..2 {
                let which = (round + turn) % 2;
                windows[which].push(self.window(number, [ours, peer][which]));
            }
        }
        let [ours_did, peer_did] = windows;
        let group = if ours == Subject::ShmNeighbours { NEIGHBOURS } else { CONTENDED };
        let row = |what: &str, unit, of: &dyn Fn(&[Window]) -> Vec<f64>| {
            let name = format!("{}, {number} processes: {what}", ours.name());
            let (ours, peers) = (of(&ours_did), of(&peer_did));
            Row::new(group, name, unit, &ours).against(peer.name(), &ours, &peers)
        };
        let throughput = row("throughput", Unit::PerSecond, &|windows| windows.iter().map(|window| window.per_second).collect());
        if group == NEIGHBOURS {
            return vec![throughput];
        }
        let over = self.effort.shared_over;
        let wait = row("longest wait", Unit::Nanoseconds, &|windows| windows.chunks(over).map(longest_wait).collect());
        let share = row("lowest share of a process", Unit::Share, &|windows| windows.chunks(over).map(least_share).collect());
        if !is_promised {
            return vec![throughput, wait, share];
        }
        vec![throughput.promise(promise::CONTENDED), wait, share.promise(promise::LOWEST_SHARE)]
    }

    fn window(&mut self, number: usize, subject: Subject) -> Window {
        let counter = self.board.counter(subject as usize);
        let before = counter.load(Relaxed);
        let start = process::now() + LEAD;
        let order = format!("{} {} {}", subject as usize, start.as_nanos(), self.effort.window.as_nanos());
        let processes = &mut self.processes[..number];
        processes.iter_mut().for_each(|process| process.say(&order));
        let done = processes.iter_mut().map(|process| {
            let [pairs, worst_wait_ns] = process.numbers();
            Done { pairs, worst_wait_ns }
        });
        let done: Vec<_> = done.collect();
        let pairs: f64 = done.iter().map(|done| done.pairs).sum();
        if !matches!(subject, Subject::ShmNeighbours | Subject::PodmanNeighbours) {
            // Checks that the lock excluded the processes.
            assert_eq!(pairs, (counter.load(Relaxed) - before) as f64, "{subject:?} let two processes in together");
        }
        Window {
            per_second: pairs / self.effort.window.as_secs_f64(),
            worst_wait_ns: done.iter().map(|done| done.worst_wait_ns).fold(0.0, f64::max),
            pairs: done.iter().map(|done| done.pairs).collect(),
        }
    }
}

fn longest_wait(windows: &[Window]) -> f64 {
    windows.iter().map(|window| window.worst_wait_ns).fold(0.0, f64::max)
}

/// Returns the smallest number of pairs of a process, relative to the mean.
fn least_share(windows: &[Window]) -> f64 {
    let processes = windows[0].pairs.len();
    let each = |process: usize| windows.iter().map(|window| window.pairs[process]).sum::<f64>();
    let (least, all) = (0..processes).map(each).fold((f64::INFINITY, 0.0), |(least, all), pairs| (pairs.min(least), all + pairs));
    least / (all / processes as f64)
}

/// Runs a contending process. It answers the order `SUBJECT START LENGTH` (times in nanoseconds) with its pairs and its longest wait.
pub(crate) fn run(scratch: &Path, arguments: &[String]) {
    let [number, set] = [0, 1].map(|at| arguments[at].parse::<i32>().expect("a number"));
    let lock = |scheme: &str, id: u32| {
        let store = scratch::open(scratch, scheme, &format!("contended-{scheme}"));
        store.retrieve(id).expect("a lock")
    };
    let (shm, file, sem, own) = (lock("shm", 0), lock("file", 0), lock("sem", 0), lock("shm", 1 + number as u32));
    let board = Board::open(scratch);
    let segment = Segment::open(&scratch.join("contended-podman"), 64);
    let ofd = File::options().read(true).write(true).open(scratch.join("contended-ofd")).expect("the file is there");
    let set = Set::with_id(set);
    process::tell("ready");

    for order in process::orders() {
        let numbers: Vec<u64> = order.split(' ').map(|number| number.parse().expect("a number")).collect();
        let subject = Subject::ALL[numbers[0] as usize];
        let counter = board.counter(subject as usize);
        let window = (Duration::from_nanos(numbers[1]), Duration::from_nanos(numbers[2]));
        let with = |lock: &Lock, inside: &mut dyn FnMut()| {
            let _guard = lock.lock().expect("it can be acquired");
            inside();
        };
        let mutex = |mutex: crate::sys::Mutex<'_>, inside: &mut dyn FnMut()| {
            mutex.lock();
            inside();
            mutex.unlock();
        };
        let done = match subject {
            Subject::Shm => contend(window, counter, |inside| with(&shm, inside)),
            Subject::File => contend(window, counter, |inside| with(&file, inside)),
            Subject::Sem => contend(window, counter, |inside| with(&sem, inside)),
            Subject::ShmNeighbours => contend(window, counter, |inside| with(&own, inside)),
            Subject::Robust => contend(window, counter, |inside| mutex(board.robust(), inside)),
            Subject::Plain => contend(window, counter, |inside| mutex(board.plain(), inside)),
            Subject::PodmanNeighbours => contend(window, counter, |inside| mutex(segment.mutex(number as u32), inside)),
            Subject::Ofd => contend(window, counter, |inside| {
                calls::ofd_lock(&ofd);
                inside();
                calls::ofd_unlock(&ofd);
            }),
            Subject::Semop => contend(window, counter, |inside| {
                set.take();
                inside();
                set.give();
            }),
        };
        process::tell(&format!("{} {}", done.pairs, done.worst_wait_ns));
    }
}

fn contend(window: (Duration, Duration), counter: &AtomicU64, mut locked: impl FnMut(&mut dyn FnMut())) -> Done {
    let (start, length) = window;
    thread::sleep(start.saturating_sub(process::now()));
    let start = Instant::now();
    let (mut pairs, mut worst) = (0_u64, Duration::ZERO);
    loop {
        let before = Instant::now();
        let mut at = before;
        locked(&mut || {
            at = Instant::now();
            // Two steps, so that missing exclusion loses an increment.
            let count = counter.load(Relaxed);
            work(INSIDE);
            counter.store(count + 1, Relaxed);
        });
        pairs += 1;
        worst = worst.max(at - before);
        if at - start >= length {
            return Done { pairs: pairs as f64, worst_wait_ns: worst.as_nanos() as f64 };
        }
        work(OUTSIDE);
    }
}

/// Computes for a while without memory accesses.
fn work(steps: u32) {
    let mut value = steps;
    for _ in 0..steps {
        value = black_box(value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    }
}

fn cost_of(steps: u32) -> f64 {
    let times = 1_000;
    let batch = || {
        let start = Instant::now();
        (0..times).for_each(|_| work(steps));
        start.elapsed().as_nanos() as f64 / f64::from(times)
    };
    // The minimum excludes disturbances by other programs.
    (0..50).map(|_| batch()).fold(f64::INFINITY, f64::min)
}

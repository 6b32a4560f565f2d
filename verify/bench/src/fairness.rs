//! How long a thread waits beside others that acquire the lock again as soon as they have released it.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::thread;
use std::time::Duration;

use lock_any::Lock;

use crate::effort::Effort;
use crate::peers::glibc::Board;
use crate::process::{self, Process};
use crate::promise;
use crate::row::{Row, quantile};
use crate::scratch::{self, Scratch};
use crate::unit::Unit;

pub(crate) const ROLE: &str = "neighbour";
const ONE: &str = "one waiter beside a process that locks again immediately";
const MANY: &str = "several processes that lock again immediately";

const HOLDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(20)];
/// The hold of each of several processes.
const SECTION: Duration = Duration::from_millis(5);
/// Time for all processes to read the order.
const LEAD: Duration = Duration::from_millis(20);
/// The pause of a waiter until the other process holds the lock.
const PAUSE: Duration = Duration::from_micros(100);
/// The numbers on the board of the first counter of sections, and of the first word that is 1 while the busy thread holds the lock.
const SECTIONS: usize = 24;
const INSIDE: usize = 32;

/// A lock. The number is its position among the counters on the board.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    Shm = 0,
    File = 1,
    Sem = 2,
    PosixSem = 3,
    Robust = 4,
    /// Between threads of one process.
    ParkingLot = 5,
}

use Subject::{File, ParkingLot, PosixSem, Robust, Sem, Shm};

impl Subject {
    const ALL: [Self; 6] = [Shm, File, Sem, PosixSem, Robust, ParkingLot];
    const OURS: [Self; 4] = [Shm, File, Sem, PosixSem];

    fn name(self) -> &'static str {
        match self {
            Shm => "shm",
            File => "file",
            Sem => "sem",
            PosixSem => "posix-sem",
            Robust => "glibc mutex, process-shared, robust",
            ParkingLot => "parking_lot::Mutex (one process)",
        }
    }

    /// Returns the name of the store.
    fn store(self) -> String {
        format!("fairness-{}", self.name())
    }
}

/// The task of a thread in a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Task {
    /// Holds the lock again and again.
    Hold,
    /// Waits for the lock while the other thread holds it, again and again, and does not hold it.
    Wait,
    /// Holds the lock again and again, and measures its waits.
    Contend,
}

/// A task with its lock, the hold, and the window.
#[derive(Clone, Copy, Debug)]
struct Order {
    task: Task,
    subject: Subject,
    hold: Duration,
    start: Duration,
    length: Duration,
}

impl Order {
    fn line(self) -> String {
        let [hold, start, length] = [self.hold, self.start, self.length].map(|time| time.as_nanos());
        format!("{} {} {hold} {start} {length}", self.task as usize, self.subject as usize)
    }

    fn parse(line: &str) -> Self {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [hold, start, length] = [2, 3, 4].map(|at| Duration::from_nanos(numbers[at]));
        let task = [Task::Hold, Task::Wait, Task::Contend][numbers[0] as usize];
        Self { task, subject: Subject::ALL[numbers[1] as usize], hold, start, length }
    }
}

/// The locks as a process opens them.
struct Locks {
    ours: [Lock; 4],
    board: Board,
    parking_lot: parking_lot::Mutex<()>,
}

impl Locks {
    fn open(scratch: &Path) -> Self {
        let open = |subject: Subject| scratch::open(scratch, subject.name(), &subject.store()).retrieve(0).expect("a lock");
        Self { ours: Subject::OURS.map(open), board: Board::open(scratch), parking_lot: parking_lot::Mutex::new(()) }
    }

    fn sections(&self, subject: Subject) -> &AtomicU64 {
        self.board.counter(SECTIONS + subject as usize)
    }

    fn inside(&self, subject: Subject) -> &AtomicU64 {
        self.board.counter(INSIDE + subject as usize)
    }

    fn with(&self, subject: Subject, section: impl FnOnce()) {
        match subject {
            Shm | File | Sem | PosixSem => {
                let _guard = self.ours[subject as usize].lock().expect("it can be acquired");
                section();
            }
            Robust => {
                self.board.robust().lock();
                section();
                self.board.robust().unlock();
            }
            ParkingLot => {
                let _guard = self.parking_lot.lock();
                section();
            }
        }
    }

    /// Executes an order. Returns the waits in nanoseconds.
    fn execute(&self, order: Order) -> Vec<f64> {
        thread::sleep(order.start.saturating_sub(process::now()));
        let end = order.start + order.length;
        let (sections, inside) = (self.sections(order.subject), self.inside(order.subject));
        let (mut waits, mut turn) = (Vec::new(), 0);
        while process::now() < end {
            if order.task == Task::Wait {
                if inside.load(Acquire) == 0 {
                    thread::sleep(PAUSE);
                    continue;
                }
                // The waits begin at different moments of a hold.
                turn += 1;
                thread::sleep(order.hold * (turn * 7 % 10) / 10);
            }
            let began = process::now();
            self.with(order.subject, || {
                waits.push((process::now() - began).as_nanos() as f64);
                // Two steps, so that missing exclusion loses an increment.
                let count = sections.load(Relaxed);
                if order.task != Task::Wait {
                    inside.store(1, Release);
                    thread::sleep(order.hold);
                    inside.store(0, Release);
                }
                sections.store(count + 1, Relaxed);
            });
        }
        waits
    }
}

/// The threads that execute orders: processes, or threads of this one for the lock of one process.
struct Neighbours {
    processes: Vec<Process>,
    locks: Locks,
}

impl Neighbours {
    /// Lets threads execute tasks together. Returns the waits of each.
    fn window(&mut self, subject: Subject, hold: Duration, length: Duration, tasks: &[Task]) -> Vec<Vec<f64>> {
        let before = self.locks.sections(subject).load(Relaxed);
        let start = process::now() + LEAD;
        let orders = tasks.iter().map(|task| Order { task: *task, subject, hold, start, length });
        let waits: Vec<Vec<f64>> = if subject == ParkingLot {
            let locks = &self.locks;
            thread::scope(|scope| {
                let threads: Vec<_> = orders.map(|order| scope.spawn(move || locks.execute(order))).collect();
                threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
            })
        } else {
            let processes = &mut self.processes[..tasks.len()];
            processes.iter_mut().zip(orders).for_each(|(process, order)| process.say(&order.line()));
            processes.iter_mut().map(|process| numbers(&process.answer())).collect()
        };
        let done = waits.iter().map(Vec::len).sum::<usize>() as u64;
        assert_eq!(done, self.locks.sections(subject).load(Relaxed) - before, "{subject:?} let two threads in together");
        waits
    }
}

fn numbers(line: &str) -> Vec<f64> {
    line.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

pub(crate) fn rows(scratch: &Scratch, effort: &Effort) -> Vec<Row> {
    for subject in Subject::OURS {
        scratch.create(subject.name(), &subject.store(), "");
    }
    let start = |_| Process::start(ROLE, scratch.path(), &[]).expect("a process");
    let mut processes: Vec<_> = (0..effort.neighbours).map(start).collect();
    // Waits until all processes have started.
    processes.iter_mut().for_each(|process| drop(process.answer()));
    let mut neighbours = Neighbours { processes, locks: Locks::open(scratch.path()) };
    let mut rows: Vec<_> = HOLDS.into_iter().flat_map(|hold| one_waiter(&mut neighbours, effort, hold)).collect();
    rows.extend(many(&mut neighbours, effort));
    rows
}

/// Measures the waits of one thread beside a busy one.
fn one_waiter(neighbours: &mut Neighbours, effort: &Effort, hold: Duration) -> Vec<Row> {
    let length = effort.fairness_window + hold * effort.holds;
    let mut waits = Subject::ALL.map(|_| Vec::new());
    for _ in 0..effort.fairness_rounds {
        for (subject, waits) in Subject::ALL.into_iter().zip(&mut waits) {
            let [of_waiter, _] = neighbours.window(subject, hold, length, &[Task::Wait, Task::Hold]).try_into().expect("of both");
            waits.extend(of_waiter.into_iter().map(|wait| wait / hold.as_nanos() as f64));
        }
    }
    waits.iter_mut().for_each(|waits| waits.sort_by(f64::total_cmp));
    let rows_of = |subject: Subject, peer: Subject| {
        let of = |what: &str, part| {
            let [ours, theirs] = [subject, peer].map(|of| quantile(&waits[of as usize], part).into_iter().collect::<Vec<_>>());
            let name = format!("{}, holds of {hold:?}: {what} of {} waits", subject.name(), waits[subject as usize].len());
            Row::new(ONE, name, Unit::Holds, &ours).against(peer.name(), &ours, &theirs)
        };
        [of("median", 0.5), of("p99", 0.99).promise(promise::wait_beside(hold)), of("longest", 1.0)]
    };
    let mut rows: Vec<_> = Subject::OURS.into_iter().flat_map(|subject| rows_of(subject, Robust)).collect();
    rows.extend(rows_of(Shm, ParkingLot).map(|row| Row { promise: None, ..row }));
    let note = format!("the busy thread ends after {length:?}, so that a longer wait ends then");
    rows.first_mut().expect("there are rows").note = Some(note);
    rows
}

/// Measures the longest wait of several busy threads, in units of a turn of all of them.
fn many(neighbours: &mut Neighbours, effort: &Effort) -> Vec<Row> {
    let turn = SECTION * effort.neighbours;
    let longest = Subject::ALL.map(|subject| {
        let tasks = vec![Task::Contend; effort.neighbours as usize];
        let waits = neighbours.window(subject, SECTION, effort.neighbours_window, &tasks);
        vec![waits.into_iter().flatten().fold(0.0, f64::max) / turn.as_nanos() as f64]
    });
    let row = |subject: Subject, peer: Subject| {
        let name = format!("{}, {} processes, sections of {SECTION:?}: longest wait", subject.name(), effort.neighbours);
        let (ours, theirs) = (&longest[subject as usize], &longest[peer as usize]);
        Row::new(MANY, name, Unit::Turns, ours).against(peer.name(), ours, theirs)
    };
    let mut rows: Vec<_> = Subject::OURS.into_iter().map(|subject| row(subject, Robust).promise(promise::LONGEST_WAIT)).collect();
    rows.push(row(Shm, ParkingLot));
    rows[0].note = Some(format!("the threads end after {:?}, so that a longer wait ends then", effort.neighbours_window));
    rows
}

/// Runs a process that executes orders.
pub(crate) fn run(scratch: &Path) {
    let locks = Locks::open(scratch);
    process::tell("ready");
    for line in process::orders() {
        let waits = locks.execute(Order::parse(&line));
        process::tell(&waits.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    }
}

//! The time from `kill -9` of an owner until a waiter has the lock, and the lateness of timeouts.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lock_any::{Deadline, ErrorKind, Guard, Lock};
use nix::unistd::gettid;

use crate::effort::Effort;
use crate::peers::glibc::Board;
use crate::process::{self, Process};
use crate::promise;
use crate::row::{Row, quantile};
use crate::scratch::{self, Scratch};
use crate::unit::Unit;

pub(crate) const ROLE: &str = "owner";
const HAND_OVER: &str = "from the death of an owner to the next one";
const LATENESS: &str = "timeouts";
const FAR: Duration = Duration::from_secs(60);
const LENGTHS: [Duration; 3] = [Duration::from_millis(1), Duration::from_millis(5), Duration::from_millis(20)];
/// The scheme that stands for glibc's mutex here.
const ROBUST: &str = "robust";
const PEER: &str = "glibc mutex, process-shared, robust";

/// A kind of waiter and owner.
#[derive(Clone, Copy, Debug)]
struct Case {
    scheme: &'static str,
    /// The waiter has a deadline.
    timed: bool,
    /// The owner waited for the lock before, with a deadline.
    owner_waited: bool,
}

impl Case {
    const fn of(scheme: &'static str, timed: bool) -> Self {
        Self { scheme, timed, owner_waited: false }
    }

    fn name(self) -> String {
        let waiter = if self.timed { "a waiter with a deadline" } else { "a waiter without a deadline" };
        let owner = if self.owner_waited { ", an owner that had itself waited with one" } else { "" };
        format!("{}, {waiter}{owner}", self.scheme)
    }
}

const CASES: [Case; 9] = [
    Case::of("shm", false),
    Case::of("shm", true),
    Case::of("file", false),
    Case::of("file", true),
    Case { scheme: "file", timed: true, owner_waited: true },
    Case::of("sem", false),
    Case::of("sem", true),
    Case::of(ROBUST, false),
    Case::of(ROBUST, true),
];

pub(crate) fn create(scratch: &Scratch) {
    for scheme in ["shm", "file", "sem"] {
        scratch.create(scheme, &format!("death-{scheme}"), "");
    }
}

pub(crate) fn hand_over(scratch: &Scratch, board: &Board, effort: &Effort) -> Vec<Row> {
    let mut times = CASES.map(|_| Vec::new());
    let locks = CASES.map(|case| lock(scratch.path(), case.scheme));
    for _ in 0..effort.kills {
        for ((case, lock), times) in CASES.iter().zip(&locks).zip(&mut times) {
            times.push(kill(scratch.path(), *case, lock.as_ref(), board).as_nanos() as f64);
        }
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let mut rows = Vec::new();
    for (case, ours) in CASES.iter().zip(&times).filter(|(case, _)| case.scheme != ROBUST) {
        let peer = CASES.iter().position(|peer| peer.scheme == ROBUST && peer.timed == case.timed).expect("there is one");
        for (what, part) in [("median", 0.5), ("p99", 0.99)] {
            let [ours, peer] = [ours, &times[peer]].map(|times| quantile(times, part).into_iter().collect::<Vec<_>>());
            let name = format!("{}: {what} of {} kills", case.name(), effort.kills);
            let row = Row::new(HAND_OVER, name, Unit::Nanoseconds, &ours).against(PEER, &ours, &peer);
            rows.push(if part == 0.99 { row.promise(promise::HAND_OVER_NS) } else { row });
        }
    }
    rows
}

/// Measures the time from the kill until the waiter has the lock.
fn kill(scratch: &Path, case: Case, lock: Option<&Lock>, board: &Board) -> Duration {
    let acquire = |timed: bool| match lock {
        Some(lock) => {
            let guard = lock.lock_by(if timed { Deadline::after(FAR) } else { Deadline::Never }).expect("it becomes free");
            (process::now(), Held::Ours(guard))
        }
        None if timed => {
            assert!(board.robust().lock_by(process::now() + FAR), "it becomes free");
            (process::now(), Held::Robust(board))
        }
        None => {
            board.robust().lock();
            (process::now(), Held::Robust(board))
        }
    };
    let mut owner = Process::start(ROLE, scratch, &[case.scheme]).expect("a process");
    if case.owner_waited {
        let guard = acquire(false);
        owner.say("wait");
        owner.answer();
        sleeps(owner.id(), owner.id());
        drop(guard);
    } else {
        owner.say("lock");
    }
    assert_eq!(owner.answer(), "held");
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let waiter = scope.spawn(move || {
            tell.send(gettid().as_raw() as u32).expect("the receiver exists");
            acquire(case.timed).0
        });
        sleeps(std::process::id(), told.recv().expect("the waiter sends its id"));
        let moment = owner.kill();
        waiter.join().expect("it does not panic").saturating_sub(moment)
    })
}

/// A held lock. Dropping it releases the lock.
enum Held<'a> {
    Ours(#[allow(dead_code)] Guard<'a>),
    Robust(&'a Board),
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Self::Robust(board) = self {
            board.robust().unlock();
        }
    }
}

/// Returns when the thread sleeps, and so waits for the lock.
fn sleeps(pid: u32, tid: u32) {
    let stat = format!("/proc/{pid}/task/{tid}/stat");
    let is_asleep = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
    while !is_asleep() {
        thread::sleep(Duration::from_micros(50));
    }
}

/// Measures timeouts while another process holds the lock.
pub(crate) fn deadlines(scratch: &Scratch, board: &Board, effort: &Effort) -> Vec<Row> {
    let schemes = ["shm", "file", "sem", ROBUST];
    let owners = schemes.map(|scheme| {
        let mut owner = Process::start(ROLE, scratch.path(), &[scheme]).expect("a process");
        owner.say("lock");
        assert_eq!(owner.answer(), "held");
        owner
    });
    let locks = schemes.map(|scheme| lock(scratch.path(), scheme));
    let mut late = schemes.map(|_| LENGTHS.map(|_| Vec::new()));
    let mut early = schemes.map(|_| 0_u32);
    for _ in 0..effort.waits {
        for (at, length) in LENGTHS.iter().enumerate() {
            for (scheme, lock) in locks.iter().enumerate() {
                match lateness(lock.as_ref(), board, *length) {
                    Ok(by) => late[scheme][at].push(by.as_nanos() as f64),
                    Err(()) => early[scheme] += 1,
                }
            }
        }
    }
    drop(owners);
    late.iter_mut().flatten().for_each(|late| late.sort_by(f64::total_cmp));
    let mut rows = Vec::new();
    for scheme in 0..3 {
        for (at, length) in LENGTHS.iter().enumerate() {
            let [ours, peer] = [scheme, 3].map(|of| quantile(&late[of][at], 0.99).into_iter().collect::<Vec<_>>());
            let name = format!("{}, {length:?}: late by, p99 of {}", schemes[scheme], effort.waits);
            let row = Row::new(LATENESS, name, Unit::Nanoseconds, &ours).against("pthread_mutex_clocklock, robust", &ours, &peer);
            rows.push(row.promise(promise::LATE_NS));
        }
        let name = format!("{}: early returns of {}", schemes[scheme], effort.waits * LENGTHS.len());
        rows.push(Row::new(LATENESS, name, Unit::Count, &[f64::from(early[scheme])]).promise(promise::EARLY));
    }
    rows
}

/// Returns the lateness of a timeout of this length; an error if it is early.
fn lateness(lock: Option<&Lock>, board: &Board, length: Duration) -> Result<Duration, ()> {
    let moment = match lock {
        Some(lock) => {
            let deadline = Instant::now() + length;
            let error = lock.try_lock_until(deadline).expect_err("it is held");
            assert!(matches!(error.kind(), ErrorKind::TimedOut), "{error}");
            return Instant::now().checked_duration_since(deadline).ok_or(());
        }
        None => process::now() + length,
    };
    assert!(!board.robust().lock_by(moment), "it is held");
    process::now().checked_sub(moment).ok_or(())
}

/// `None` for glibc's mutex.
fn lock(scratch: &Path, scheme: &str) -> Option<Lock> {
    let open = || scratch::open(scratch, scheme, &format!("death-{scheme}")).retrieve(0).expect("a lock");
    (scheme != ROBUST).then(open)
}

/// Runs the owner. The order `lock` acquires the lock, and `wait` acquires it with a deadline.
pub(crate) fn run(scratch: &Path, arguments: &[String]) {
    let board = Board::open(scratch);
    let lock = lock(scratch, &arguments[0]);
    let mut held = Vec::new();
    for order in process::orders() {
        match (&lock, order.as_str()) {
            (Some(lock), "lock") => held.push(lock.lock().expect("it becomes free")),
            (Some(lock), _) => {
                process::tell("waiting");
                held.push(lock.try_lock_for(FAR).expect("it becomes free"));
            }
            (None, _) => board.robust().lock(),
        }
        process::tell("held");
    }
}

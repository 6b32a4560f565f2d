//! Programs that close the library's descriptors, and open other files under the same numbers.
//!
//! The library may then return an error to the program. It must still exclude all other processes, leave the program's files alone and not
//! declare the program dead.

mod closing;
mod inheriting;
mod reusing;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use super::cases;
use crate::case::Case;
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::peer::own_file::LOCKED;
use crate::process::{LockRef, Thread, grant};

pub(super) const CASES: [&[Case]; 3] = [closing::CASES, reusing::CASES, inheriting::CASES];

/// Longer than the interval at which a waiter checks the owner.
const LONGER_THAN_A_CHECK: Duration = Duration::from_millis(400);

/// Long enough for a waiting program to check once whether the owner is alive.
const A_BIT: Duration = Duration::from_millis(250);

/// Number of attempts in each direction.
const ROUNDS: u32 = 50;

/// Asserts that the lock stays held after waiters have checked whether the owner is alive.
fn stays_held(fixture: &Fixture, other: &Thread, lock: LockRef, why: &str) {
    other.finds_busy(lock, why);
    if need::DEADLINES.is_met(&fixture.suite) {
        times_out(other, lock, LONGER_THAN_A_CHECK, why);
        other.finds_busy(lock, why);
    }
}

fn times_out(other: &Thread, lock: LockRef, duration: Duration, why: &str) {
    match other.lock_for(lock, duration) {
        Ok(_) => panic!("{other} acquired the lock {lock} after a while, although {why}"),
        Err(refusal) => assert_eq!(refusal.kind, "TimedOut", "a wait ended with an unexpected error: {refusal}"),
    }
}

/// Asserts that the lock is free, and that no death is reported.
fn is_free(other: &Thread, lock: LockRef, why: &str) {
    assert!(other.finds_free(lock, why).death.is_none(), "a death is reported to {other}, although no process died");
}

/// Asserts that the program and the other process exclude each other. The program may get an error.
fn exclude_each_other(fixture: &Fixture, program: &Thread, other: &Thread, lock: LockRef) {
    if locks_or_gets_an_error(program, lock) {
        stays_held(fixture, other, lock, PROGRAM_HOLDS);
        program.unlock(lock);
    }
    if need::DEADLINES.is_met(&fixture.suite) {
        other.lock(lock);
        is_not_granted(program, lock, "lock_for", &[&A_BIT.as_nanos().to_string()]);
        other.unlock(lock);
    }
    exclude_each_other_in_turn(program, other, lock);
}

/// Repeats the check many times, with attempts that do not wait.
fn exclude_each_other_in_turn(program: &Thread, other: &Thread, lock: LockRef) {
    for _ in 0..ROUNDS * scale() {
        if locks_or_gets_an_error(program, lock) {
            other.finds_busy(lock, PROGRAM_HOLDS);
            program.unlock(lock);
        }
        is_free(other, lock, "the program released it, or could not acquire it");
        other.lock(lock);
        is_not_granted(program, lock, "try_lock", &[]);
        other.unlock(lock);
    }
}

const PROGRAM_HOLDS: &str = "the program, which closed descriptors, holds it";

/// Acquires the free lock. Returns false if the program gets an error.
fn locks_or_gets_an_error(program: &Thread, lock: LockRef) -> bool {
    let Ok(fields) = program.ask("lock", &[&lock.to_string()]) else { return false };
    let granted = grant(&fields).expect("lock() never finds a lock busy");
    assert!(granted.death.is_none(), "a death is reported to {program}, although no process died");
    true
}

/// Asserts that the program does not acquire a lock that another process holds. It may get an error.
fn is_not_granted(program: &Thread, lock: LockRef, verb: &str, arguments: &[&str]) {
    let name = lock.to_string();
    let arguments: Vec<_> = [name.as_str()].into_iter().chain(arguments.iter().copied()).collect();
    let granted = program.ask(verb, &arguments).ok().and_then(|fields| grant(&fields));
    assert!(
        granted.is_none(),
        "{program}, which closed descriptors, acquired the lock {lock}, although another process holds it"
    );
}

/// Files of a program, open under numbers that the library may have used before.
struct OwnFiles<'a> {
    program: &'a Thread,
    paths: Vec<PathBuf>,
}

impl<'a> OwnFiles<'a> {
    /// Opens files until every number up to `until` is open.
    fn open(fixture: &Fixture, program: &'a Thread, until: u32) -> Self {
        let directory = fixture.own_directory();
        program.must("open_own_files", &[text(&directory), &until.to_string()]);
        let entries = directory.read_dir().expect("the directory of the program's files").flatten();
        let files = Self { program, paths: entries.map(|entry| entry.path()).collect() };
        files.are_undamaged("they were opened");
        files
    }

    /// Opens a file and duplicates its descriptor over all these numbers.
    fn duplicate_over(fixture: &Fixture, program: &'a Thread, numbers: impl IntoIterator<Item = u32>) -> Self {
        let path = fixture.own_directory().join("own");
        let numbers: Vec<_> = numbers.into_iter().map(|number| number.to_string()).collect();
        let arguments: Vec<_> = [text(&path)].into_iter().chain(numbers.iter().map(String::as_str)).collect();
        program.must("duplicate_over", &arguments);
        let files = Self { program, paths: vec![path] };
        files.are_undamaged("they were opened");
        files
    }

    /// Asserts that their descriptors, contents and locks are unchanged.
    fn are_undamaged(&self, after: &str) {
        let damage: Option<String> = self.program.must("own_files", &[]).find("damage");
        assert_eq!(damage, None, "after {after}");
        for path in &self.paths {
            let locks = locks_on(path).unwrap_or_else(|errno| panic!("the locks on {} cannot be seen: {errno}", path.display()));
            assert_eq!(locks, [(libc::F_WRLCK, LOCKED)], "the locks on the program's file changed after {after}");
            assert!(is_flocked(path), "the program's file is not locked by flock any more after {after}");
        }
    }
}

/// Lists the locks on the file: type, first byte and number of bytes.
fn locks_on(path: &Path) -> nix::Result<Vec<(i32, (i64, i64))>> {
    let file = File::options().read(true).write(true).open(path).expect("the program's file opens");
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let (kind, whence) = (libc::F_WRLCK as i16, libc::SEEK_SET as i16);
        let mut lock = libc::flock { l_type: kind, l_whence: whence, l_start: from, l_len: 0, l_pid: 0 };
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        if i32::from(lock.l_type) == libc::F_UNLCK {
            return Ok(found);
        }
        found.push((i32::from(lock.l_type), (lock.l_start, lock.l_len)));
        if lock.l_len == 0 {
            return Ok(found);
        }
        from = lock.l_start + lock.l_len;
    }
}

/// Returns whether the file has an exclusive `flock` lock.
fn is_flocked(path: &Path) -> bool {
    let file = File::open(path).expect("the program's file opens");
    matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the scratch path is text")
}

//! Programs that open files under descriptor numbers that the library used before.

use std::collections::BTreeSet;

use super::{A_BIT, OwnFiles, cases, exclude_each_other_in_turn, is_free, is_not_granted, stays_held};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Thread, grant};

cases! { "descriptors";
    a_program_file_under_a_reused_number_is_unchanged [STORE PROCESSES CLOSE_RANGE];
    a_program_file_duplicated_over_a_number_is_unchanged [STORE PROCESSES];
    dropping_handle_and_store_closes_no_program_file [STORE PROCESSES CLOSE_RANGE];
}

/// Returns a program that has used a lock, another process, and the library's descriptor numbers.
fn a_program_that_locked(fixture: &Fixture) -> (Thread, Thread, LockRef, BTreeSet<u32>) {
    let (other, program) = (fixture.peer(), fixture.blank_peer());
    let before = program.process.descriptors();
    program.must("open", &["open", &fixture.url()]);
    let lock = fixture.a_lock(&other);
    program.finds_free(lock, "no process holds it");
    let came = &program.process.descriptors() - &before;
    (program, other, lock, came)
}

/// Acquires, releases and waits, and checks the files after each operation. The program may get errors.
fn are_unchanged(fixture: &Fixture, files: &OwnFiles<'_>, other: &Thread, lock: LockRef) {
    let (program, name) = (files.program, lock.to_string());
    for release in ["unlock", "release"] {
        if program.ask("lock", &[&name]).is_ok() {
            files.are_undamaged("lock");
            other.finds_busy(lock, "the program holds it");
            let _ = program.ask(release, &[&name]);
            files.are_undamaged(release);
        }
        is_free(other, lock, "the program released it, or was refused it");
    }
    other.lock(lock);
    is_not_granted(program, lock, "try_lock", &[]);
    files.are_undamaged("try_lock");
    if need::DEADLINES.is_met(&fixture.suite) {
        is_not_granted(program, lock, "lock_for", &[&A_BIT.as_nanos().to_string()]);
        files.are_undamaged("a wait that timed out");
    }
    let waiter = program.start_lock(lock);
    waiter.begun();
    other.unlock(lock);
    if waiter.outcome().is_ok_and(|fields| grant(&fields).is_some()) {
        files.are_undamaged("a wait");
        program.unlock(lock);
    }
    exclude_each_other_in_turn(program, other, lock);
    files.are_undamaged("many locks");
}

/// Releases the lock that the program acquired before its files got the numbers, and checks the files.
fn is_released(fixture: &Fixture, files: &OwnFiles<'_>, other: &Thread, lock: LockRef) {
    stays_held(fixture, other, lock, "the program holds it, although it reused the library's numbers");
    let _ = files.program.ask("unlock", &[&lock.to_string()]);
    files.are_undamaged("unlock");
    is_free(other, lock, "the program released it");
}

/// Returns the greatest of the numbers, but at least 8, so that a program opens several files.
fn highest(numbers: &BTreeSet<u32>) -> u32 {
    numbers.last().map_or(8, |highest| (*highest).max(8))
}

fn a_program_file_under_a_reused_number_is_unchanged(fixture: &Fixture) {
    let (program, other, lock, came) = a_program_that_locked(fixture);
    program.must("close_everything", &[]);
    let files = OwnFiles::open(fixture, &program, highest(&came));
    are_unchanged(fixture, &files, &other, lock);

    let (program, other, lock, came) = a_program_that_locked(fixture);
    program.lock(lock);
    let came_since = program.process.descriptors();
    program.must("close_everything", &[]);
    let files = OwnFiles::open(fixture, &program, highest(&came).max(highest(&came_since)));
    is_released(fixture, &files, &other, lock);
}

fn a_program_file_duplicated_over_a_number_is_unchanged(fixture: &Fixture) {
    let (program, other, lock, came) = a_program_that_locked(fixture);
    let files = OwnFiles::duplicate_over(fixture, &program, came);
    are_unchanged(fixture, &files, &other, lock);

    let (other, program) = (fixture.peer(), fixture.blank_peer());
    let before = program.process.descriptors();
    program.must("open", &["open", &fixture.url()]);
    let lock = fixture.a_lock(&other);
    program.lock(lock);
    let came = &program.process.descriptors() - &before;
    let files = OwnFiles::duplicate_over(fixture, &program, came);
    is_released(fixture, &files, &other, lock);
}

fn dropping_handle_and_store_closes_no_program_file(fixture: &Fixture) {
    let other = fixture.peer();
    for held in [false, true] {
        let (program, lock) = (fixture.blank_peer(), fixture.a_lock(&other));
        program.must("open_droppable", &["open", &fixture.url(), &lock.to_string()]);
        program.must("lock_droppable", &[]);
        if !held {
            program.must("drop_guard", &[]);
        }
        let highest = highest(&program.process.descriptors());
        program.must("close_everything", &[]);
        let files = OwnFiles::open(fixture, &program, highest);
        for part in ["drop_guard", "drop_handle", "drop_store"] {
            program.must(part, &[]);
            files.are_undamaged(part);
        }
        is_free(&other, lock, "its guard was dropped");
    }
}

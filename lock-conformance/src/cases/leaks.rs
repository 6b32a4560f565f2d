//! Resources that operations must not leak: descriptors, memory, threads, semaphore sets.

use super::{cases, first_ids, with_option};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Thread};
use crate::usage::Usage;

cases! { "leaks";
    handles_leave_nothing_behind [STORE];
    stores_leave_nothing_behind [STORE PROCESSES];
    acquisitions_leave_nothing_behind [];
    time_outs_leave_nothing_behind [DEADLINES];
    a_destroyed_store_leaves_nothing_in_the_kernel [STORE PROCESSES NUMBERED REMOVAL IPC_NAMESPACES];
    a_program_that_is_executed_inherits_nothing [STORE PROCESSES];
}

/// Number of resources that a process may keep, such as a pool. Repetitions must not add to them.
const DESCRIPTORS: usize = 10;
const THREADS: usize = 4;
/// In KiB: less than the smallest block of an allocator for each of [`ACQUISITIONS`].
const MEMORY: usize = 384;
/// In bytes: memory for other purposes. One block for every fiftieth operation is more.
const BLOCKS: u32 = 4096;

const HANDLES: u32 = 1000;
const OPENINGS: u32 = 700;
const ACQUISITIONS: u32 = 20_000;
const TIME_OUTS: u32 = 2000;

/// Number of series. Memory may grow in some of them, because allocators keep freed memory.
const SERIES: usize = 6;

/// Repeats the work in several series, and fails if the process grows in each of them.
fn leaves_nothing_behind(thread: &Thread, what: &str, count: u32, work: impl Fn(u32)) {
    work(count / 10 + 1);
    let mut before = thread.process.usage();
    let mut bytes_before = bytes_in_use(thread);
    let (mut growth, mut blocks) = (Vec::new(), Vec::new());
    for _ in 0..SERIES {
        work(count);
        let after = thread.process.usage();
        let bytes_after = bytes_in_use(thread);
        growth.push(after.memory.saturating_sub(before.memory));
        blocks.push(bytes_after.saturating_sub(bytes_before));
        is_small(&before, &after, what, count);
        (before, bytes_before) = (after, bytes_after);
        if growth.iter().any(|growth| *growth <= MEMORY) && blocks.iter().any(|bytes| *bytes <= BLOCKS) {
            return;
        }
    }
    panic!(
        "{count} {what} make the process larger, each of {SERIES} times: by {growth:?} KiB, with {blocks:?} more bytes in blocks of \
         its allocator"
    );
}

/// Returns the number of allocated bytes of the process; 0 if its allocator does not count them.
fn bytes_in_use(thread: &Thread) -> u32 {
    thread.must("bytes_in_use", &[]).find("bytes").unwrap_or(0)
}

fn is_small(before: &Usage, after: &Usage, what: &str, count: u32) {
    let numbers = [
        ("descriptors", after.descriptors, before.descriptors, DESCRIPTORS),
        ("inotify watches", after.watches, before.watches, DESCRIPTORS),
        ("threads", after.threads, before.threads, THREADS),
    ];
    for (kind, after, before, limit) in numbers {
        assert!(after <= before + limit, "after {count} {what}, the process has {after} {kind}; it had {before}");
    }
}

fn handles_leave_nothing_behind(fixture: &Fixture) {
    let a = fixture.peer();
    let lock = fixture.a_lock(&a).to_string();
    leaves_nothing_behind(&a, "handles", fixture.repetitions(HANDLES), |count| {
        drop(a.must("retrieve_many", &[&lock, &count.to_string()]));
    });
}

/// Number of repetitions of each operation.
const SEVERAL: &str = "60";

fn stores_leave_nothing_behind(fixture: &Fixture) {
    let a = fixture.peer();
    let (lock, url) = (fixture.a_lock(&a).to_string(), fixture.url());
    let program = fixture.blank_peer();
    leaves_nothing_behind(&program, "openings of the store", fixture.repetitions(OPENINGS), |count| {
        program.must("open_many", &[&url, &lock, &count.to_string()]);
    });
}

fn acquisitions_leave_nothing_behind(fixture: &Fixture) {
    let a = fixture.peer();
    let lock = fixture.a_lock(&a).to_string();
    leaves_nothing_behind(&a, "acquisitions", fixture.repetitions(ACQUISITIONS), |count| {
        drop(a.must("lock_many", &[&lock, &count.to_string()]));
    });
}

fn time_outs_leave_nothing_behind(fixture: &Fixture) {
    let contenders =
        if need::PROCESSES.is_met(&fixture.suite) { super::Contenders::Processes } else { super::Contenders::Threads };
    let (owner, other, lock) = contenders.start_two(fixture);
    owner.lock(lock);
    let lock = lock.to_string();
    leaves_nothing_behind(&other, "time-outs", fixture.repetitions(TIME_OUTS), |count| {
        other.must("time_out_many", &[&lock, &count.to_string(), "20000"]);
    });
}

/// Ids of a store of 2600 locks, including the last one.
///
/// In a backend with semaphore sets, they belong to several sets.
const MANY: [u32; 5] = [599, 1023, 1024, 2047, 2599];

/// Uses a new IPC namespace, in which no other case creates a set.
fn a_destroyed_store_leaves_nothing_in_the_kernel(fixture: &Fixture) {
    let url = fixture.fresh_url();
    let (url, more) =
        if need::CHOSEN.is_met(&fixture.suite) { (with_option(&url, "capacity=2600"), &MANY[..]) } else { (url, &[][..]) };
    let first = fixture.blank_peer();
    first.must("own_ipc", &[]);
    first.must("open", &["create", &url]);
    let second = fixture.fork(&first);
    second.must("open", &["open", &url]);
    let used = [&[0, 1, 2], more].concat();
    for thread in [&first, &second] {
        for id in &used {
            thread.finds_free(LockRef::Number(*id), "no process holds it");
            thread.must("retrieve_many", &[&id.to_string(), SEVERAL]);
        }
    }
    fixture.kill(&second.process);
    first.must("destroy", &[]);
    let left = first.must("semaphore_sets", &[]).numbers("ids");
    assert!(
        left.is_empty(),
        "the ids {used:?} were used and the store was destroyed, but the semaphore sets {left:?} are still there"
    );
}

/// Descriptors without `FD_CLOEXEC` stay open in the executed program.
///
/// Some kinds of locks stay held with them.
fn a_program_that_is_executed_inherits_nothing(fixture: &Fixture) {
    let (owner, program) = (fixture.peer(), fixture.peer());
    let (lock, busy) = (fixture.a_lock(&program), fixture.a_lock(&owner));
    let usual = fixture.blank_peer().process.targets_of_descriptors();
    program.must("retrieve_many", &[&lock.to_string(), SEVERAL]);
    program.must("open_many", &[&fixture.url(), &lock.to_string(), SEVERAL]);
    let others = first_ids(fixture, &program, HELD).map(LockRef::Number).filter(|other| ![lock, busy].contains(other));
    others.for_each(|other| _ = program.lock(other));
    if busy != lock {
        owner.lock(busy);
        let name = busy.to_string();
        program.must("try_new_handles", &[&name, SEVERAL]);
        if need::DEADLINES.is_met(&fixture.suite) {
            program.must("time_out_many", &[&name, SEVERAL, "1000000"]);
        }
    }
    program.lock(lock);
    let after = fixture.exec(&program);
    let mut inherited = after.process.targets_of_descriptors();
    for target in usual {
        if let Some(at) = inherited.iter().position(|known| is_same_kind(known, &target)) {
            inherited.swap_remove(at);
        }
    }
    assert!(inherited.is_empty(), "a program that a user of the locks executes inherits its descriptors of {inherited:?}");
}

/// Number of locks that the program holds.
const HELD: u32 = 60;

/// Returns whether two targets are equal, or are both files for the messages of peers.
fn is_same_kind(one: &str, other: &str) -> bool {
    one == other || (one.contains("/stderr-") && other.contains("/stderr-"))
}

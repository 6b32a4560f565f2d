//! The cases, one file per group.

mod allocation;
mod breaking;
mod causes;
mod cleaning;
mod copies;
mod costs;
mod damage;
mod deadlines;
mod deadlocks;
mod death_reports;
mod descriptors;
mod exclusion;
mod fairness;
mod filesystems;
mod fork;
mod freeing;
mod growing;
mod guard_checks;
mod ids;
mod ipc_namespaces;
mod keeping;
mod labels;
mod leaks;
mod limits;
mod links;
mod listing;
mod lookups;
mod mixed;
mod mixed_deaths;
mod mutexes;
mod names;
mod namespace_homes;
mod namespace_threads;
mod namespaces;
mod opening;
mod owner_death;
mod panics;
mod permissions;
mod queues;
mod raising;
mod reclaiming;
mod reconciling;
mod reentry;
mod send;
mod sessions;
mod sharing;
mod storm;
mod tokens;
mod trying;
mod vanishing;
mod views;
mod visibility;
mod waiter_deaths;
mod waiters;
mod waking;

use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::case::Case;
use crate::fixture::Fixture;
use crate::need;
use crate::process::{Grant, LockRef, Pending, Thread};
use crate::protocol::Fields;
use crate::shared_memory::{Place, SharedMemory, WRONGS, Wrong};

/// Returns the cases of all groups.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        opening::CASES,
        growing::CASES,
        raising::CASES,
        copies::CASES,
        cleaning::CASES,
        exclusion::BETWEEN,
        exclusion::MIXED,
        mixed::CASES,
        deadlines::BETWEEN,
        deadlines::MIXED,
        deadlines::CASES,
        costs::BETWEEN,
        costs::CASES,
        waking::BETWEEN,
        waking::MIXED,
        waking::CASES,
        fairness::BETWEEN,
        fairness::MIXED,
        queues::CASES,
        waiter_deaths::CASES,
        reentry::CASES,
        send::BETWEEN,
        send::MIXED,
        send::CASES,
        owner_death::CASES,
        mixed_deaths::MIXED,
        trying::CASES,
        mutexes::CASES,
        death_reports::CASES,
        panics::CASES,
        causes::CASES,
        namespaces::CASES,
        namespace_threads::CASES,
        namespace_homes::CASES,
        ipc_namespaces::CASES,
        views::CASES,
        visibility::IN_SURROUNDINGS,
        visibility::CASES,
        allocation::CASES,
        ids::CASES,
        lookups::CASES,
        freeing::CASES,
        names::CASES,
        labels::CASES,
        listing::CASES,
        waiters::CASES,
        deadlocks::CASES,
        tokens::BETWEEN,
        tokens::CASES,
        reconciling::CASES,
        reclaiming::CASES,
        breaking::CASES,
        guard_checks::CASES,
        sessions::CASES,
        storm::CASES,
        damage::CASES,
        vanishing::CASES,
        limits::CASES,
        sharing::CASES,
        permissions::CASES,
        links::CASES,
        leaks::CASES,
        filesystems::CASES,
    ]
    .into_iter()
    .chain(fork::CASES)
    .chain(descriptors::CASES)
    .flatten()
}

/// Defines the table of a group: each case with its needs, and the claim that makes it inapplicable.
macro_rules! cases {
    ($group:literal; $($name:ident [$($need:ident)*] $(unless $unless:ident)?;)+) => {
        pub(super) const CASES: &[$crate::case::Case] = &[$($crate::case::Case {
            name: concat!($group, "::", stringify!($name)),
            needs: &[$($crate::need::$need),*],
            unless: &[$($crate::need::$unless)?],
            run: $name,
        }),+];
    };
}

/// Defines the table of a group whose cases run three times.
///
/// They run between threads that share a handle, between handles of one process, and between processes.
macro_rules! cases_for_all {
    ($group:literal; $($name:ident [$($need:ident)*];)+) => {
        pub(super) const BETWEEN: &[$crate::case::Case] = &[$(
            $crate::cases::cases_for_all!(@ $group, "threads", Threads, $name []  [$($need)*]),
            $crate::cases::cases_for_all!(@ $group, "handles", Handles, $name [STORE] [$($need)*]),
            $crate::cases::cases_for_all!(@ $group, "processes", Processes, $name [PROCESSES] [$($need)*]),
        )+];
    };
    (@ $group:literal, $kind:literal, $Contenders:ident, $name:ident [$($first:ident)*] [$($need:ident)*]) => {
        $crate::case::Case {
            name: concat!($group, "::", $kind, "::", stringify!($name)),
            needs: &[$($crate::need::$first,)* $($crate::need::$need),*],
            unless: &[],
            run: |fixture| $name(fixture, $crate::cases::Contenders::$Contenders),
        }
    };
}

/// Defines the table of the cases that run between threads of two processes.
///
/// Threads of one process share a handle.
macro_rules! cases_for_mixed {
    ($group:literal; $($name:ident [$($need:ident)*];)+) => {
        pub(super) const MIXED: &[$crate::case::Case] = &[$(
            $crate::cases::cases_for_all!(@ $group, "mixed", Mixed, $name [STORE PROCESSES] [$($need)*]),
        )+];
    };
}

use {cases, cases_for_all, cases_for_mixed};

/// The kind of contenders for a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Contenders {
    /// Threads of one process with one handle.
    Threads,
    /// Threads of one process, each of which opens the store itself and has separate handles.
    Handles,
    /// Processes.
    Processes,
    /// Threads of two processes, alternately. Threads of one process share a handle.
    Mixed,
}

impl Contenders {
    /// Starts `count` contenders that have the case's store open.
    fn start(self, fixture: &Fixture, count: usize) -> Vec<Thread> {
        let first = fixture.peer();
        let second = (self == Self::Mixed).then(|| fixture.peer());
        (0..count)
            .map(|n| match self {
                Self::Processes if n == 0 => first.clone(),
                Self::Processes => fixture.peer(),
                Self::Threads => first.process.thread(&format!("t{n}")),
                Self::Mixed => second.as_ref().filter(|_| n % 2 == 1).unwrap_or(&first).process.thread(&format!("t{n}")),
                Self::Handles => {
                    let thread = first.process.thread(&format!("t{n}"));
                    thread.must("open_own", &["open", &fixture.url()]);
                    thread
                }
            })
            .collect()
    }

    /// Starts two contenders, and returns them with a lock.
    fn start_two(self, fixture: &Fixture) -> (Thread, Thread, LockRef) {
        let mut both = self.start(fixture, 2).into_iter();
        let (Some(a), Some(b)) = (both.next(), both.next()) else { unreachable!("two contenders were started") };
        let lock = fixture.a_lock(&a);
        (a, b, lock)
    }
}

/// Returns the case's URL, with this capacity if the backend lets users choose one.
fn with_capacity(fixture: &Fixture, capacity: &str) -> String {
    let url = fixture.url();
    if need::CHOSEN.is_met(&fixture.suite) { with_option(&url, &format!("capacity={capacity}")) } else { url }
}

/// Returns the first `count` ids of the thread's new store, or all of them if it has fewer.
fn first_ids(fixture: &Fixture, thread: &Thread, count: u32) -> Range<u32> {
    if !need::NUMBERED.is_met(&fixture.suite) {
        return 0..0;
    }
    let capacity = thread.available().and_then(|available| u32::try_from(available).ok());
    0..capacity.map_or(count, |capacity| capacity.min(count))
}

/// Appends an option to a URL.
fn with_option(url: &str, option: &str) -> String {
    format!("{url}{}{option}", if url.contains('?') { '&' } else { '?' })
}

/// Starts critical sections in each thread, and releases the threads at the same time.
fn start_sections(threads: &[Thread], arena: (&Path, SharedMemory), rounds: u32, pace: u32, locks: &[LockRef]) -> Vec<Pending> {
    start_sections_by(|_| "sections", threads, arena, rounds, pace, locks)
}

/// As [`start_sections`], with the command for the thread at each position.
fn start_sections_by(
    verb: impl Fn(usize) -> &'static str,
    threads: &[Thread],
    arena: (&Path, SharedMemory),
    rounds: u32,
    pace: u32,
    locks: &[LockRef],
) -> Vec<Pending> {
    let start = |(slot, thread)| start_sections_of(verb(slot), thread, slot, arena.0, rounds, pace, locks);
    let pending: Vec<_> = threads.iter().enumerate().map(start).collect();
    for pending in &pending {
        pending.begun();
    }
    arena.1.go();
    pending
}

fn start_sections_of(
    verb: &str,
    thread: &Thread,
    slot: usize,
    arena: &Path,
    rounds: u32,
    pace: u32,
    locks: &[LockRef],
) -> Pending {
    let locks: Vec<_> = locks.iter().map(ToString::to_string).collect();
    let (slot, rounds, pace) = (slot.to_string(), rounds.to_string(), pace.to_string());
    let arena = arena.to_str().expect("the scratch path is text");
    let arguments: Vec<_> = [arena, &slot, &rounds, &pace].into_iter().chain(locks.iter().map(String::as_str)).collect();
    thread.start(verb, &arguments)
}

/// Asserts that the critical sections did not overlap and had the right reports and tokens.
fn nothing_went_wrong_in(place: Place) {
    for (wrong, words) in WRONGS {
        let times = place.noted(wrong);
        assert_eq!(times, 0, "{times} times an owner {words}");
    }
    let (value, done) = (place.value(), place.done());
    assert_eq!(value, done, "the sum is {value} after {done} critical sections: they overlapped");
}

/// Waits until a server has noticed the death of the owner of a lock. The kernel of this machine notices it immediately.
fn death_is_noticed(fixture: &Fixture, thread: &Thread, lock: LockRef) {
    if need::SESSIONS.is_met(&fixture.suite) && need::HOLDERS.is_met(&fixture.suite) {
        let is_noticed = || !thread.must("holder", &[&lock.to_string()]).has("pid");
        fixture.wait_until("the session of the dead owner ends", is_noticed);
    }
}

/// As [`Thread::finds_free`], after waiters have died. A dead waiter keeps its place in the queue of a server until its session ends.
fn finds_free_after_waiters(fixture: &Fixture, thread: &Thread, lock: LockRef, why: &str) -> Grant {
    if need::LOCAL.is_met(&fixture.suite) {
        return thread.finds_free(lock, why);
    }
    let grant = thread.lock(lock);
    thread.unlock(lock);
    grant
}

/// Lists the allocated ids after a process was killed.
///
/// A server may execute what the process has sent before. The list is returned when it does not change any more.
fn allocated_after_kill(fixture: &Fixture, watcher: &Thread) -> Fields {
    let mut listed = watcher.must("allocated", &[]);
    while need::SESSIONS.is_met(&fixture.suite) {
        thread::sleep(SETTLING);
        let again = watcher.must("allocated", &[]);
        if again == listed {
            break;
        }
        listed = again;
    }
    listed
}

/// How long a server may need for a request that it has received.
const SETTLING: Duration = Duration::from_millis(200);

/// Runs threads that allocate and free ids, and records ids that two of them have at the same time.
fn several_racing_for(fixture: &Fixture, threads: &[Thread], rounds: u32) -> SharedMemory {
    // Ids may be anywhere below the capacity. Without a capacity, low ones are expected.
    let (path, arena) = fixture.arena(threads[0].available().map_or(4096, |free| free.min(1 << 16)) as usize);
    let path = path.to_str().expect("the scratch path is text");
    let racing: Vec<_> = threads.iter().map(|thread| thread.start("churn", &[path, &rounds.to_string()])).collect();
    for racer in &racing {
        racer.begun();
    }
    arena.go();
    for racer in racing {
        racer.done();
    }
    arena
}

/// Asserts that no two threads had the same id at the same time, and that all ids were freed.
fn nothing_was_shared_in(arena: SharedMemory, left: Vec<u32>) {
    for id in 0..arena.places() {
        let shared = arena.place(id).noted(Wrong::TwoInside);
        assert_eq!(shared, 0, "the id {id} belonged to two threads at the same time, {shared} times");
    }
    assert_eq!(left, [], "all threads freed their ids, but some are still allocated");
}

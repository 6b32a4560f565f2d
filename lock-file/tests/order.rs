//! The order in which waiting threads get a lock. `lock-conformance` has the tests for all backends.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use lock_core::{Cancellation, Deadline, Lock, OpenMode, Store, StoreUrl, WaitOptions, Waiter};
use rstest::rstest;

/// A time limit that no test reaches.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Number of waits beside the thread that locks again immediately.
const WAITS: usize = 15;

fn numbered(directory: &Path) -> Lock {
    let url = StoreUrl::builder("file").path(directory.join("store")).build().unwrap();
    Store::with_backend(&lock_file::BACKEND, &url, OpenMode::OpenOrCreate).unwrap().retrieve(0).unwrap()
}

fn of_container(directory: &Path) -> Lock {
    let url = StoreUrl::builder("lxc").path(directory).option("name", "web").option("rundir", directory.join("run").display());
    Store::with_backend(&lock_file::LXC, &url.build().unwrap(), OpenMode::OpenOrCreate).unwrap().single().unwrap()
}

fn without_deadline(lock: &Lock) {
    lock.lock().unwrap().unlock().unwrap();
}

fn with_deadline(lock: &Lock) {
    lock.try_lock_for(WATCHDOG).unwrap().unlock().unwrap();
}

fn in_slices(lock: &Lock) {
    lock.lock_with(WaitOptions::new().cancellation(&Cancellation::new())).unwrap().unlock().unwrap();
}

fn for_the_process(lock: &Lock) {
    lock.lock_send().unwrap().unlock().unwrap();
}

/// Returns how often a thread acquires the lock during each wait of another one. It holds the lock for 3 ms and locks it again immediately.
fn overtakings(busy: &Lock, waiter: &Lock, wait: fn(&Lock)) -> Vec<u64> {
    let (is_over, count) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(SeqCst) {
                let guard = busy.lock().unwrap();
                count.fetch_add(1, SeqCst);
                thread::sleep(Duration::from_millis(3));
                guard.unlock().unwrap();
            }
        });
        let waits = (0..WAITS).map(|_| {
            let start = count.load(SeqCst);
            // The busy thread holds the lock, or is about to acquire it.
            while count.load(SeqCst) == start {
                thread::yield_now();
            }
            wait(waiter);
            count.load(SeqCst) - start - 1
        });
        let waits = waits.collect();
        is_over.store(true, SeqCst);
        waits
    })
}

/// Asserts that the busy thread acquires the lock at most twice during most of the waits, in most of five trials.
///
/// Load on the machine can delay waiters.
fn assert_few(mut overtakings: impl FnMut() -> Vec<u64>) {
    let mut failures = Vec::new();
    for _ in 0..5 {
        let mut counts = overtakings();
        counts.sort_unstable();
        if counts[WAITS * 2 / 3] > 2 {
            failures.push(counts);
        }
    }
    assert!(failures.len() <= 2, "{failures:?}");
}

#[rstest]
fn a_thread_that_locks_again_immediately_overtakes_a_waiter_rarely(
    #[values(without_deadline, with_deadline, in_slices, for_the_process)] wait: fn(&Lock),
    #[values(false, true)] shares_a_handle: bool,
) {
    let directory = tempfile::tempdir().unwrap();
    let busy = numbered(directory.path());
    let other = numbered(directory.path());
    assert_few(|| overtakings(&busy, if shares_a_handle { &busy } else { &other }, wait));
}

#[rstest]
fn a_waiter_of_lxc_with_a_deadline_is_overtaken_rarely(#[values(with_deadline, in_slices)] wait: fn(&Lock)) {
    let directory = tempfile::tempdir().unwrap();
    let (busy, waiter) = (of_container(directory.path()), of_container(directory.path()));
    assert_few(|| overtakings(&busy, &waiter, wait));
}

/// The kernel would serve the thread that blocks in it first.
#[test]
fn a_waiter_with_a_deadline_is_served_before_a_later_one_without() {
    let directory = tempfile::tempdir().unwrap();
    let url = StoreUrl::builder("file").path(directory.path().join("store")).build().unwrap();
    let store = Store::with_backend(&lock_file::BACKEND, &url, OpenMode::Create).unwrap();
    let has_starved = |waiter: &Waiter| waiter.waited.is_some_and(|waited| waited > Duration::from_millis(1));
    let wait_for = |count| {
        while store.waiting().unwrap().waiters.iter().filter(|waiter| has_starved(waiter)).count() < count {
            thread::yield_now();
        }
    };
    let acquire = |deadline| {
        let lock = numbered(directory.path());
        let guard = lock.lock_by(deadline).unwrap();
        let token = guard.token().unwrap();
        guard.unlock().unwrap();
        token
    };
    let owner = store.retrieve(0).unwrap();
    let in_order = (0..WAITS).filter(|_| {
        let guard = owner.lock().unwrap();
        thread::scope(|scope| {
            let first = scope.spawn(|| acquire(Deadline::after(WATCHDOG)));
            wait_for(1);
            let second = scope.spawn(|| acquire(Deadline::Never));
            wait_for(2);
            guard.unlock().unwrap();
            first.join().unwrap() < second.join().unwrap()
        })
    });
    let in_order = in_order.count();
    // Load on the machine can delay a few waiters.
    assert!(in_order > WAITS * 2 / 3, "{in_order} of {WAITS} times in order");
}

#[test]
fn threads_without_a_deadline_give_way_to_one_with_a_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let (busy, waiter) = (numbered(directory.path()), numbered(directory.path()));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let own = numbered(directory.path());
                while !is_over.load(SeqCst) {
                    let guard = own.lock().unwrap();
                    thread::sleep(Duration::from_millis(3));
                    guard.unlock().unwrap();
                }
            });
        }
        let counts: Vec<_> = (0..5).map(|_| overtakings(&busy, &waiter, with_deadline)).collect();
        is_over.store(true, SeqCst);
        let mut counts = counts.into_iter();
        assert_few(|| counts.next().expect("there are five"));
    });
}

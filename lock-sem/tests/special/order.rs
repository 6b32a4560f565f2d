//! The order in which the waiters of `posix-sem` get a lock.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Duration;

use lock_core::{Lock, Waiter};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::peer::{Peer, lock_of};
use crate::{Store, tests};

tests! {
    a_thread_that_locks_again_immediately_overtakes_a_waiter_rarely,
    a_free_lock_is_not_kept_for_a_waiter_that_was_killed,
    a_free_lock_is_kept_for_a_stopped_waiter_for_a_limited_time,
    waiters_are_served_in_the_order_of_their_waits,
}

/// A time limit that no test reaches.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Number of waits beside the thread that locks again immediately.
const WAITS: usize = 15;

fn a_thread_that_locks_again_immediately_overtakes_a_waiter_rarely() {
    let waits: [fn(&Lock); 3] = [
        |lock| drop(lock.lock().unwrap()),
        |lock| drop(lock.try_lock_for(WATCHDOG).unwrap()),
        |lock| lock.lock_send().unwrap().unlock().unwrap(),
    ];
    for wait in waits {
        let store = Store::new("posix-sem", "");
        let (busy, waiter) = (lock_of(&store.url, "0"), lock_of(&store.url, "0"));
        let mut failures = Vec::new();
        // Load on the machine can delay waiters, so most of several trials have to succeed.
        for _ in 0..5 {
            let mut counts = overtakings(&busy, &waiter, wait);
            counts.sort_unstable();
            if counts[WAITS * 2 / 3] > 2 {
                failures.push(counts);
            }
        }
        assert!(failures.len() <= 2, "{failures:?}");
    }
}

/// Returns how often a thread acquires the lock during each wait of another one. It holds the lock for 3 ms and locks it again immediately.
fn overtakings(busy: &Lock, waiter: &Lock, wait: fn(&Lock)) -> Vec<u64> {
    let (is_over, count) = (AtomicBool::new(false), AtomicU64::new(0));
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

/// Starts a peer that waits for lock 0, which is held. Returns when it has waited for longer than a millisecond.
fn start_waiter(store: &Store) -> Peer {
    let peer = Peer::start(&["queue", &store.url, "0"]);
    let has_starved = |waiter: &Waiter| {
        waiter.thread.pid == peer.pid() && waiter.waited.is_some_and(|waited| waited > Duration::from_millis(1))
    };
    while !store.store.waiting().unwrap().waiters.iter().any(has_starved) {
        thread::yield_now();
    }
    peer
}

fn stop(peer: &Peer) {
    let pid = Pid::from_raw(peer.pid().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
}

fn resume(peer: &Peer) {
    kill(Pid::from_raw(peer.pid().cast_signed()), Signal::SIGCONT).unwrap();
}

fn a_free_lock_is_not_kept_for_a_waiter_that_was_killed() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let guard = lock.lock().unwrap();
    start_waiter(&store).kill();
    guard.unlock().unwrap();
    assert!(lock.try_lock().unwrap().is_some(), "the lock is kept for a dead waiter");
}

fn a_free_lock_is_kept_for_a_stopped_waiter_for_a_limited_time() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut kept = 0;
    for _ in 0..WAITS {
        let guard = lock.lock().unwrap();
        let mut waiter = start_waiter(&store);
        stop(&waiter);
        guard.unlock().unwrap();
        kept += usize::from(lock.try_lock().unwrap().is_none());
        while lock.try_lock().unwrap().is_none() {
            thread::yield_now();
        }
        drop(lock.lock().unwrap());
        resume(&waiter);
        assert!(waiter.next_line().parse::<u64>().is_ok(), "the waiter did not get the lock");
    }
    // A waiter may be stopped before it has noticed that it has waited for a millisecond.
    assert!(kept > 0, "a thread that has not waited gets the lock first");
}

/// A signal removes a thread from the queue of the semaphore, so that the thread continues at its end.
fn waiters_are_served_in_the_order_of_their_waits() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut in_order = 0;
    for _ in 0..WAITS {
        let guard = lock.lock().unwrap();
        let mut waiters: Vec<Peer> = (0..3).map(|_| start_waiter(&store)).collect();
        for moved in &waiters[..2] {
            stop(moved);
            resume(moved);
        }
        guard.unlock().unwrap();
        let tokens: Vec<u64> = waiters.iter_mut().map(|waiter| waiter.next_line().parse().unwrap()).collect();
        in_order += usize::from(tokens.is_sorted());
    }
    // Load on the machine can delay a few waiters.
    assert!(in_order > WAITS * 2 / 3, "{in_order} of {WAITS} times in order");
}

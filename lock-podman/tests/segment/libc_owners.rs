//! Owners and waiters that use libc's functions.

use std::fs;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::ErrorKind;

use super::peer::{Aligned, Child, Mutex, Segment, kill_after, wait_until};

const WATCHDOG: Duration = Duration::from_secs(60);
const WAITERS: u32 = 0x8000_0000;

#[test]
fn a_new_segment_has_the_bytes_that_podman_writes() {
    let segment = Segment::new();
    let expected = Aligned::new(56 + 1288 * 2);
    // SAFETY: the places are in the buffer and aligned.
    unsafe {
        expected.at(0).cast::<u16>().write(0x87d1);
        expected.at(48).cast::<u32>().write(2);
        expected.at(52).cast::<u32>().write(64);
    }
    Mutex::init(expected.at(8));
    for lock in 0..64 {
        Mutex::init(expected.at(64 + 1288 * (lock / 32) + 40 * (lock % 32)));
    }
    assert_eq!(fs::read(segment.path()).unwrap(), expected.bytes());
}

#[test]
fn a_guard_and_a_libc_owner_exclude_each_other() {
    let segment = Segment::new();
    let (lock, mutex) = (segment.lock(40), segment.mutex(40));
    let guard = lock.lock().unwrap();
    assert_eq!(mutex.try_lock(), libc::EBUSY);
    guard.unlock().unwrap();
    assert_eq!(mutex.try_lock(), 0);
    assert!(lock.try_lock().unwrap().is_none());
    assert_eq!(lock.try_lock_for(Duration::from_millis(5)).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(mutex.unlock(), 0);
    assert!(lock.try_lock().unwrap().unwrap().recovered().is_none());
}

#[test]
fn a_guard_leaves_the_mutex_as_libc_does() {
    let segment = Segment::new();
    let before = fs::read(segment.path()).unwrap();
    segment.lock(3).lock().unwrap().unlock().unwrap();
    assert_eq!(fs::read(segment.path()).unwrap()[..64 + 40 * 3 + 20], before[..64 + 40 * 3 + 20]);
    assert_eq!(segment.word(3, 12).load(SeqCst), 0, "the number of users is not 0");
}

#[test]
fn a_killed_libc_owner_is_recovered_with_a_report() {
    let segment = Segment::new();
    let dead = kill_after(|| assert_eq!(segment.mutex(1).lock(), 0));
    let guard = segment.lock(1).lock_owned().unwrap();
    let death = guard.recovered().expect("the death is reported");
    assert_eq!(death.holder.as_ref().map(|holder| holder.tid), Some(dead), "{death}");
    drop(guard);
    // The report was not dealt with, so that libc gets it, too.
    let mutex = segment.mutex(1);
    assert_eq!(mutex.lock(), libc::EOWNERDEAD);
    assert_eq!((mutex.mark_consistent(), mutex.unlock()), (0, 0));
    assert!(segment.lock(1).lock().unwrap().recovered().is_none());
    assert_eq!(segment.word(1, 12).load(SeqCst), 0, "the number of users is not 0");
}

#[test]
fn a_killed_guard_is_recovered_by_libc() {
    let segment = Segment::new();
    kill_after(|| std::mem::forget(segment.lock(1).lock_owned().unwrap()));
    let mutex = segment.mutex(1);
    assert_eq!(mutex.lock(), libc::EOWNERDEAD);
    assert_eq!((mutex.mark_consistent(), mutex.unlock()), (0, 0));
    assert_eq!((mutex.lock(), mutex.unlock()), (0, 0));
}

#[test]
fn a_libc_owner_that_dies_before_it_marks_is_reported() {
    let segment = Segment::new();
    kill_after(|| std::mem::forget(segment.lock(1).lock_owned().unwrap()));
    kill_after(|| assert_eq!(segment.mutex(1).lock(), libc::EOWNERDEAD));
    let lock = segment.lock(1);
    let mut guard = lock.lock().unwrap();
    let death = guard.recovered().expect("the death is reported").to_string();
    assert!(death.contains("not recorded"), "libc does not record an owner before it marks: {death}");
    guard.mark_consistent().unwrap();
    drop(guard);
    assert!(lock.lock().unwrap().recovered().is_none());
}

#[test]
fn a_libc_waiter_gets_the_lock_of_a_guard() {
    let segment = Segment::new();
    let lock = segment.lock(2);
    let guard = lock.lock().unwrap();
    let waiter = Child::spawn(|| assert_eq!((segment.mutex(2).lock(), segment.mutex(2).unlock()), (0, 0)));
    wait_until("the waiter is announced", || segment.word(2, 0).load(SeqCst) & WAITERS != 0);
    guard.unlock().unwrap();
    assert!(waiter.join());
}

/// A wake-up is lost when a woken thread is killed after another thread has acquired the mutex without the bit.
#[test]
fn a_release_wakes_a_libc_waiter_whose_wake_up_was_lost() {
    let segment = Segment::new();
    let lock = segment.lock(2);
    let guard = lock.lock().unwrap();
    let waiter = Child::spawn(|| assert_eq!((segment.mutex(2).lock(), segment.mutex(2).unlock()), (0, 0)));
    wait_until("the waiter sleeps", || segment.store.waiting().unwrap().waiters.len() == 1);
    segment.word(2, 0).fetch_and(!WAITERS, SeqCst);
    guard.unlock().unwrap();
    assert!(waiter.join());
}

#[test]
fn a_sleeping_waiter_announces_libc_waiters_again() {
    let segment = Segment::new();
    assert_eq!(segment.mutex(2).lock(), 0);
    let waiter = Child::spawn(|| assert_eq!((segment.mutex(2).lock(), segment.mutex(2).unlock()), (0, 0)));
    wait_until("the waiter sleeps", || segment.store.waiting().unwrap().waiters.len() == 1);
    segment.word(2, 0).fetch_and(!WAITERS, SeqCst);
    thread::scope(|scope| {
        scope.spawn(|| segment.lock(2).try_lock_for(Duration::from_millis(1)).map(drop).unwrap_err());
    });
    assert_eq!(segment.mutex(2).unlock(), 0);
    assert!(waiter.join());
}

#[test]
fn a_word_of_waiters_alone_is_a_free_lock() {
    let segment = Segment::new();
    segment.word(5, 0).store(WAITERS, SeqCst);
    let lock = segment.lock(5);
    let guard = lock.try_lock().unwrap().expect("the lock is free");
    assert_eq!(segment.word(5, 0).load(SeqCst) & WAITERS, WAITERS, "threads may be asleep");
    guard.unlock().unwrap();
    assert_eq!(segment.word(5, 0).load(SeqCst), 0);
}

#[test]
fn a_lock_that_a_program_gave_up_is_corrupt() {
    let segment = Segment::new();
    kill_after(|| assert_eq!(segment.mutex(1).lock(), 0));
    let mutex = segment.mutex(1);
    assert_eq!((mutex.lock(), mutex.unlock()), (libc::EOWNERDEAD, 0));
    assert_eq!(mutex.lock(), libc::ENOTRECOVERABLE);
    let error = segment.lock(1).lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("renumber"), "{error}");
    assert_eq!(segment.word(1, 0).load(SeqCst), 0, "the word is as before");
}

#[test]
fn the_report_of_a_panic_is_eownerdead_for_libc() {
    let segment = Segment::new();
    thread::scope(|scope| {
        let owner = || {
            let _guard = segment.lock(1).lock_owned().unwrap();
            panic!("a test");
        };
        scope.spawn(owner).join().unwrap_err();
    });
    let mutex = segment.mutex(1);
    assert_eq!(mutex.lock(), libc::EOWNERDEAD);
    assert_eq!((mutex.mark_consistent(), mutex.unlock()), (0, 0));
}

#[test]
fn an_allocation_waits_for_a_libc_owner_of_the_segment_mutex() {
    let segment = Segment::new();
    assert_eq!(segment.segment_mutex().lock(), 0);
    thread::scope(|scope| {
        let allocating = scope.spawn(|| segment.store.allocate("").map(|lock| lock.id().get()));
        wait_until("the allocation waits", || segment.store.details().iter().any(|(_, text)| text.contains("waiting: pid")));
        assert_eq!(segment.store.allocated().unwrap().len(), 0, "reading waits for nothing");
        assert_eq!(segment.segment_mutex().unlock(), 0);
        assert_eq!(allocating.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn an_allocation_recovers_the_segment_mutex() {
    let segment = Segment::new();
    kill_after(|| assert_eq!(segment.segment_mutex().lock(), 0));
    let start = Instant::now();
    assert_eq!(segment.store.allocate("").unwrap().id().get(), 0);
    assert!(start.elapsed() < WATCHDOG);
    kill_after(|| assert_eq!(segment.segment_mutex().lock(), 0));
    assert_eq!(segment.segment_mutex().lock(), libc::EOWNERDEAD);
}

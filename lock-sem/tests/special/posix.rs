//! Breaking of locks, and damage to a `sem_t`.

use std::sync::Barrier;
use std::time::Duration;

use lock_core::{ErrorDetails, ErrorKind, HeldBy, Lock, SendGuard};

use crate::peer::Peer;
use crate::{Store, tests};

tests! {
    the_lock_of_a_dead_owner_is_listed_broken_and_reported,
    a_death_is_reported_again_after_another_break,
    one_of_four_concurrent_breaks_succeeds_and_one_thread_acquires_the_lock,
    breaking_a_free_lock_is_refused,
    breaking_the_lock_of_a_living_owner_reports_no_death,
    a_guard_whose_lock_was_broken_does_not_release_the_next_guard_of_the_process,
    a_break_wakes_the_waiters_of_a_dead_owner,
    a_damaged_semaphore_is_an_error_and_does_not_end_the_process,
}

/// Kills a process that holds lock 0, and returns its process id.
fn kill_owner(store: &Store) -> u32 {
    let mut owner = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(owner.next_line(), "held");
    owner.kill()
}

fn the_lock_of_a_dead_owner_is_listed_broken_and_reported() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let dead = kill_owner(&store);
    assert!(lock.try_lock().unwrap().is_none(), "the lock of a dead owner was granted before it was broken");
    let error = lock.try_lock_for(Duration::from_millis(1)).unwrap_err();
    let ErrorDetails::TimedOut { held_by: HeldBy::Dead(holder), .. } = error.details() else { panic!("{error:?}") };
    assert_eq!(holder.pid, dead);
    let held = store.store.held().unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].holder.as_ref().unwrap().pid, dead);
    store.store.break_lock(0).unwrap();
    assert_eq!(store.store.held().unwrap(), []);
    for marked in [false, false, true] {
        let mut guard = lock.lock().unwrap();
        assert_eq!(guard.recovered().unwrap().holder.as_ref().unwrap().pid, dead);
        if marked {
            guard.mark_consistent().unwrap();
        }
        guard.unlock().unwrap();
    }
    assert!(lock.lock().unwrap().recovered().is_none(), "the death was reported after the lock was marked consistent");
}

fn a_death_is_reported_again_after_another_break() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let dead = kill_owner(&store);
    store.store.break_lock(0).unwrap();
    let mut living = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(living.next_line(), "held");
    store.store.break_lock(0).unwrap();
    let guard = lock.lock().unwrap();
    assert_eq!(guard.recovered().expect("no owner has marked the lock consistent").holder.as_ref().unwrap().pid, dead);
    living.send("unlock");
    assert_eq!(living.next_line(), "Lost");
    let held = store.store.held().unwrap();
    assert_eq!(held[0].holder.as_ref().unwrap().pid, std::process::id(), "the release of the previous owner changed the owner");
    guard.unlock().unwrap();
}

fn one_of_four_concurrent_breaks_succeeds_and_one_thread_acquires_the_lock() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    for _ in 0..50 {
        kill_owner(&store);
        assert_eq!(count_of_four(|_| store.store.break_lock(0).is_ok()), 1);
        let owners = count_of_four(|barrier| {
            let guard = lock.try_lock().unwrap();
            barrier.wait();
            guard.is_some()
        });
        assert_eq!(owners, 1, "threads did not exclude each other");
    }
}

/// Runs four threads at the same time, and counts those that return true.
fn count_of_four(race: impl Fn(&Barrier) -> bool + Sync) -> usize {
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        let racer = || {
            barrier.wait();
            race(&barrier)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(racer)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|result| *result).count()
    })
}

fn breaking_a_free_lock_is_refused() {
    let store = Store::new("posix-sem", "");
    for _ in 0..2 {
        let error = store.store.break_lock(0).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotHeld), "{error:?}");
        drop(store.store.retrieve(0).unwrap().lock().unwrap());
    }
}

fn breaking_the_lock_of_a_living_owner_reports_no_death() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut owner = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(owner.next_line(), "held");
    store.store.break_lock(0).unwrap();
    let guard = lock.lock().unwrap();
    assert!(guard.recovered().is_none(), "a death was reported, but the owner is alive");
    owner.send("unlock");
    assert_eq!(owner.next_line(), "Lost");
    let mut other = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(other.next_line(), "waiting");
    assert_eq!(store.store.held().unwrap()[0].holder.as_ref().unwrap().pid, std::process::id());
    guard.unlock().unwrap();
    assert_eq!(other.next_line(), "got");
}

/// All guards of a process have the same owner.
fn a_guard_whose_lock_was_broken_does_not_release_the_next_guard_of_the_process() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let lost = [lock.lock_send().unwrap(), broken_and_acquired_again(&store, &lock)];
    let held = broken_and_acquired_again(&store, &lock);
    for guard in lost {
        assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::Lost);
    }
    let mut other = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(other.next_line(), "waiting");
    assert_eq!(store.store.held().unwrap()[0].holder.as_ref().unwrap().pid, std::process::id());
    held.unlock().unwrap();
    assert_eq!(other.next_line(), "got");
}

fn broken_and_acquired_again<'a>(store: &Store, lock: &'a Lock) -> SendGuard<'a> {
    store.store.break_lock(0).unwrap();
    lock.lock_send().unwrap()
}

fn a_break_wakes_the_waiters_of_a_dead_owner() {
    let store = Store::new("posix-sem", "");
    let mut owner = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(owner.next_line(), "held");
    let mut waiter = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(waiter.next_line(), "waiting");
    let dead = owner.kill();
    store.store.break_lock(0).unwrap();
    assert_eq!(waiter.next_line(), format!("got from {dead}"));
}

/// glibc uses a part of a `sem_t` as a futex operation, and aborts if the kernel does not know the operation.
fn a_damaged_semaphore_is_an_error_and_does_not_end_the_process() {
    use std::os::unix::fs::FileExt;
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut holder = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(holder.next_line(), "held");
    let file = std::fs::File::options().read(true).write(true).open(store.directory().join("store")).unwrap();
    // Byte 40 of the first line. The header, the process entries and the bitmaps precede the line.
    let at = 4096 + 16_384 * (128 + 32) + 4096 + 40;
    let mut constant = [0; 8];
    file.read_exact_at(&mut constant, at).unwrap();
    // The constant is 0 with musl.
    for damage in [[0; 8], [0x55; 8], [0xff; 8]].into_iter().filter(|damage| *damage != constant) {
        file.write_all_at(&damage, at).unwrap();
        for result in [lock.try_lock().map(drop), lock.try_lock_for(Duration::from_millis(1)).map(drop)] {
            let error = result.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
        }
    }
    holder.send("unlock");
    assert!(holder.next_line().starts_with("Corrupt"));
    file.write_all_at(&constant, at).unwrap();
    drop(lock.try_lock().unwrap().expect("the owner released the lock"));
}

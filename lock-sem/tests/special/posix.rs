//! Breaking, which is all that helps against a `sem_t` whose owner is dead.

use std::sync::Barrier;
use std::time::Duration;

use lock_core::ErrorKind;

use crate::peer::Peer;
use crate::{Store, tests};

tests! {
    the_dead_are_listed_and_broken_and_told,
    a_death_that_no_owner_dealt_with_is_told_after_a_break,
    of_racing_breakers_one_succeeds_and_one_thread_gets_in,
    breaking_a_free_lock_is_refused,
    an_owner_that_lives_is_not_called_dead_when_its_lock_is_broken,
    an_owner_killed_while_others_wait_leaves_them_to_a_break,
    a_damaged_semaphore_is_an_error_and_ends_no_process,
}

fn dead_owner(store: &Store) -> u32 {
    let mut owner = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(owner.says(), "held");
    owner.kill()
}

fn the_dead_are_listed_and_broken_and_told() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let dead = dead_owner(&store);
    assert!(lock.try_lock().unwrap().is_none(), "nobody gives back what the dead held");
    let error = lock.try_lock_for(Duration::from_millis(1)).unwrap_err();
    let ErrorKind::TimedOut { holder: Some(holder) } = error.kind() else { panic!("{error:?}") };
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
    assert!(lock.lock().unwrap().recovered().is_none(), "an owner declared that all is in order");
}

fn a_death_that_no_owner_dealt_with_is_told_after_a_break() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let dead = dead_owner(&store);
    store.store.break_lock(0).unwrap();
    let mut living = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(living.says(), "held");
    store.store.break_lock(0).unwrap();
    let guard = lock.lock().unwrap();
    assert_eq!(
        guard.recovered().expect("the owner whose lock was broken had not dealt with it").holder.as_ref().unwrap().pid,
        dead
    );
    living.hears("unlock");
    assert_eq!(living.says(), "Lost");
    let held = store.store.held().unwrap();
    assert_eq!(held[0].holder.as_ref().unwrap().pid, std::process::id(), "the release of the previous owner changes nothing");
    guard.unlock().unwrap();
}

fn of_racing_breakers_one_succeeds_and_one_thread_gets_in() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    for _ in 0..50 {
        dead_owner(&store);
        assert_eq!(how_many_of_four(|_| store.store.break_lock(0).is_ok()), 1);
        let inside = how_many_of_four(|all| {
            let guard = lock.try_lock().unwrap();
            all.wait();
            guard.is_some()
        });
        assert_eq!(inside, 1, "nobody left before all had tried");
    }
}

/// Has four threads race, and counts those that say yes.
fn how_many_of_four(race: impl Fn(&Barrier) -> bool + Sync) -> usize {
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        let racer = || {
            barrier.wait();
            race(&barrier)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(racer)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|yes| *yes).count()
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

fn an_owner_that_lives_is_not_called_dead_when_its_lock_is_broken() {
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut owner = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(owner.says(), "held");
    store.store.break_lock(0).unwrap();
    let guard = lock.lock().unwrap();
    assert!(guard.recovered().is_none(), "nobody died");
    owner.hears("unlock");
    assert_eq!(owner.says(), "Lost");
    let mut other = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(other.says(), "waiting");
    assert_eq!(store.store.held().unwrap()[0].holder.as_ref().unwrap().pid, std::process::id());
    guard.unlock().unwrap();
    assert_eq!(other.says(), "got");
}

fn an_owner_killed_while_others_wait_leaves_them_to_a_break() {
    let store = Store::new("posix-sem", "");
    let mut owner = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(owner.says(), "held");
    let mut waiter = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(waiter.says(), "waiting");
    let dead = owner.kill();
    store.store.break_lock(0).unwrap();
    assert_eq!(waiter.says(), format!("got from {dead}"));
}

/// glibc makes a part of a `sem_t` a part of a futex operation, and aborts when the kernel does not know that.
fn a_damaged_semaphore_is_an_error_and_ends_no_process() {
    use std::os::unix::fs::FileExt;
    let store = Store::new("posix-sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut holder = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(holder.says(), "held");
    let file = std::fs::File::options().read(true).write(true).open(store.directory().join("store")).unwrap();
    // The sixth of the eight words of the first line, which stands behind header, entries and bitmaps.
    let at = 4096 + 16_384 * 128 + 4096 + 40;
    let mut constant = [0; 8];
    file.read_exact_at(&mut constant, at).unwrap();
    // With musl the constant is 0.
    for damage in [[0; 8], [0x55; 8], [0xff; 8]].into_iter().filter(|damage| *damage != constant) {
        file.write_all_at(&damage, at).unwrap();
        for result in [lock.try_lock().map(drop), lock.try_lock_for(Duration::from_millis(1)).map(drop)] {
            let error = result.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error:?}");
        }
    }
    holder.hears("unlock");
    assert!(holder.says().starts_with("Corrupt"));
    file.write_all_at(&constant, at).unwrap();
    drop(lock.try_lock().unwrap().expect("its owner released it"));
}

//! Ids, labels, tokens and guards as programs use them.
#![cfg(feature = "shm")]

use std::thread;
use std::time::{Duration, Instant};

use lock_any::{Deadline, ErrorDetails, ErrorKind, Label, LockId, Store, Token, lock_all_owned};
use tempfile::TempDir;

fn create(options: &str) -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = lock_any::create(format!("shm:{}/store?{options}", directory.path().display())).unwrap();
    (directory, store)
}

#[test]
fn integers_of_databases_and_literals_are_ids() {
    let (_directory, store) = create("capacity=unbounded");
    let id = store.allocate_and_retrieve(5, "five").unwrap().id();
    assert_eq!(id, LockId::new(5));
    for lock in [store.retrieve(5_i64), store.retrieve(5_u64), store.retrieve(5_u32), store.retrieve(5_usize), store.retrieve(id)]
    {
        assert_eq!(lock.unwrap().id(), id);
    }
    for error in [store.retrieve(-1), store.retrieve(i64::from(u32::MAX) + 1), store.retrieve(u64::MAX)] {
        assert!(matches!(error.unwrap_err().details(), ErrorDetails::OutOfRange { capacity: LockId::LIMIT, .. }));
    }
    store.free(5).unwrap();
    assert!(!store.is_allocated(5).unwrap());
}

#[test]
fn get_or_allocate_allocates_once() {
    let (_directory, store) = create("capacity=8");
    thread::scope(|scope| {
        for number in 0..4 {
            let store = &store;
            scope.spawn(move || assert_eq!(store.get_or_allocate(3, format!("thread {number}")).unwrap().id().get(), 3));
        }
    });
    let label = store.retrieve(3).unwrap().label().unwrap().unwrap();
    let again = store.get_or_allocate(3, "another").unwrap();
    assert_eq!(again.label().unwrap(), Some(label), "the label of an allocated id does not change");
    assert_eq!(again.generation(), store.allocation(3).unwrap().unwrap().generation);
    assert_eq!(again.store_id(), store.id());
    assert_eq!(store.available().unwrap(), Some(7));
    assert!(matches!(store.get_or_allocate(8, "").unwrap_err().details(), ErrorDetails::OutOfRange { capacity: 8, .. }));
}

#[test]
fn an_id_that_is_not_allocated_has_no_label() {
    let (_directory, store) = create("capacity=8");
    let lock = store.retrieve(2).unwrap();
    assert_eq!((store.allocation(2).unwrap(), lock.label().unwrap()), (None, None));
    assert!(matches!(store.allocation(9).unwrap_err().details(), ErrorDetails::OutOfRange { capacity: 8, .. }));
}

#[test]
fn reconcile_takes_ids_with_and_without_labels() {
    let (_directory, store) = create("capacity=8");
    let kept = store.allocate_and_retrieve(1, "old").unwrap();
    // As rows of a database.
    let done = store.reconcile([(1_i64, "new"), (6, "web")]).unwrap();
    assert_eq!((done.allocated, done.freed), (vec![LockId::new(6)], vec![]));
    assert_eq!(kept.label().unwrap(), Some(Label::new("old").unwrap()));
    assert_eq!(store.retrieve(6).unwrap().label().unwrap(), Some(Label::new("web").unwrap()));

    assert_eq!(store.reconcile([6]).unwrap().freed, [LockId::new(1)]);
    let refused = store.reconcile([(2, "fine"), (3, "two\nlines")]).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::BadLabel), "{refused}");
    assert!(matches!(store.reconcile([2, -2]).unwrap_err().kind(), ErrorKind::OutOfRange));
    assert_eq!(store.allocated().unwrap().len(), 1, "an error changes nothing");
    store.reconcile(Vec::<LockId>::new()).unwrap();
    assert_eq!(store.available().unwrap(), Some(8));
}

#[test]
fn a_lock_that_this_thread_holds_is_busy_and_a_wait_for_it_is_refused() {
    let (_directory, store) = create("capacity=8");
    let lock = store.retrieve(0).unwrap();
    let guard = lock.lock().unwrap();
    assert!(lock.try_lock().unwrap().is_none() && lock.try_lock_owned().unwrap().is_none());
    assert!(matches!(lock.lock_by(Deadline::Now).unwrap_err().kind(), ErrorKind::TimedOut));
    assert!(matches!(lock.lock().unwrap_err().kind(), ErrorKind::AlreadyHeld));
    for waits in [lock.try_lock_for(Duration::ZERO), lock.try_lock_until(Instant::now()), lock.lock_owned()] {
        assert!(matches!(waits.unwrap_err().kind(), ErrorKind::AlreadyHeld));
    }
    drop(guard);
    assert!(lock.try_lock().unwrap().is_some());
}

#[test]
fn owned_guards_outlive_their_handles() {
    let (_directory, store) = create("capacity=8");
    let guards = {
        let locks = [store.retrieve(3).unwrap(), store.retrieve(1).unwrap()];
        lock_all_owned(&locks, Deadline::after(Duration::from_secs(60))).unwrap()
    };
    assert_eq!(guards.iter().map(|guard| guard.lock().id().get()).collect::<Vec<_>>(), [3, 1]);
    drop(guards);
    let timed = store.retrieve(1).unwrap().try_lock_owned_for(Duration::from_secs(60)).unwrap();
    let until = store.retrieve(3).unwrap().try_lock_owned_until(Instant::now() + Duration::from_secs(60)).unwrap();
    assert!(store.retrieve(1).unwrap().try_lock().unwrap().is_none());
    drop((timed, until));
    assert!(store.held().unwrap().is_empty());
}

#[test]
fn tokens_increase_across_stores_of_one_name() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("shm:{}/store", directory.path().display());
    let mut before: Option<Token> = None;
    for _ in 0..3 {
        let store = lock_any::create(&url).unwrap();
        let lock = store.allocate("").unwrap();
        for _ in 0..3 {
            let token = lock.lock().unwrap().token();
            assert!(token > before, "{token:?} follows {before:?}");
            before = token;
        }
        store.destroy().unwrap();
    }
}

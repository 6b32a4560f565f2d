//! Allocation, which has podman's results.

use lock_core::{ErrorKind, OpenMode};

use super::peer::{Segment, open};

#[test]
fn the_lowest_free_id_is_allocated_until_the_segment_is_full() {
    let segment = Segment::new();
    let store = &segment.store;
    let allocate = || store.allocate("").map(|lock| lock.id().get());
    for id in 0..64 {
        assert_eq!(allocate().unwrap(), id);
    }
    assert_eq!(store.available().unwrap(), Some(0));
    let error = allocate().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    for id in [5, 63, 0, 32] {
        store.free(id).unwrap();
        assert_eq!(allocate().unwrap(), id);
        assert!(allocate().unwrap_err().is_exhausted());
    }
    assert_eq!(store.free_all().unwrap(), 64);
    assert_eq!((allocate().unwrap(), store.available().unwrap()), (0, Some(63)));
}

#[test]
fn errors_are_those_of_podman() {
    let segment = Segment::new();
    let store = &segment.store;
    store.allocate_and_retrieve(7, "").map(drop).unwrap();
    let kind = |result: lock_core::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(store.allocate_and_retrieve(7, "").map(drop)), ErrorKind::AlreadyAllocated);
    assert_eq!(kind(store.allocate_and_retrieve(64, "").map(drop)), ErrorKind::OutOfRange);
    assert_eq!(kind(store.retrieve(64).map(drop)), ErrorKind::OutOfRange);
    assert_eq!(kind(store.free(8)), ErrorKind::NotAllocated);
    assert_eq!(kind(store.free(64)), ErrorKind::OutOfRange);
    assert_eq!(kind(store.reconcile([1, 64]).map(drop)), ErrorKind::OutOfRange);
    assert_eq!(store.allocated().unwrap().len(), 1);
}

#[test]
fn a_held_lock_can_be_freed_and_stays_held() {
    let segment = Segment::new();
    let store = &segment.store;
    let lock = store.allocate("").unwrap();
    let guard = lock.lock().unwrap();
    store.free(lock.id()).unwrap();
    let again = store.allocate("").unwrap();
    assert_eq!(again.id(), lock.id());
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(again.try_lock().unwrap().is_none()));
    });
    guard.unlock().unwrap();
}

#[test]
fn the_number_of_locks_is_rounded_up_when_creating_and_when_opening() {
    let segment = Segment::with_locks(40);
    assert_eq!(segment.store.capacity(), Some(64));
    for (asked, fits) in [("", true), ("locks=64", true), ("locks=33", true), ("locks=32", false), ("locks=65", false)] {
        let opened = open(&segment.path(), asked, OpenMode::OpenOrCreate);
        match opened {
            Ok(store) => assert!(fits && store.capacity() == Some(64), "{asked}"),
            Err(error) => assert!(!fits && error.kind() == ErrorKind::OtherCapacity, "{asked}: {error}"),
        }
    }
    for wrong in ["locks=0", "locks=many", "locks=4294967295", "capacity=64"] {
        assert_eq!(open(&segment.path(), wrong, OpenMode::Open).unwrap_err().kind(), ErrorKind::BadUrl, "{wrong}");
    }
}

#[test]
fn reconcile_allocates_and_frees() {
    let segment = Segment::new();
    let store = &segment.store;
    (0..3).for_each(|_| drop(store.allocate("").unwrap()));
    let done = store.reconcile([1, 40]).unwrap();
    let numbers = |ids: Vec<lock_core::LockId>| ids.into_iter().map(lock_core::LockId::get).collect::<Vec<_>>();
    assert_eq!((numbers(done.allocated), numbers(done.freed)), (vec![40], vec![0, 2]));
    assert_eq!(store.allocation(40).unwrap().map(|found| found.id.get()), Some(40));
}

//! Waits with a cancellation and a notice, on every backend.
#![cfg(all(feature = "shm", feature = "file", feature = "sem"))]

mod local;

use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lock_any::{Cancellation, ErrorDetails, ErrorKind, Lock, Numbering, Store, StoreUrl, WaitOptions, Waiting};
use tempfile::TempDir;

/// Longer than any test.
const FAR: Duration = Duration::from_secs(3600);

/// Calls the test with a lock of each backend.
fn on_each(test: impl Fn(&str, &Lock)) {
    for backend in local::backends() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Removed { store: create(backend.scheme(), &scratch) };
        let lock = match store.store.capabilities().numbering {
            Numbering::Single => store.store.single().unwrap(),
            _ => store.store.allocate("").unwrap(),
        };
        test(backend.scheme(), &lock);
    }
}

fn create(scheme: &str, scratch: &TempDir) -> Store {
    let url = StoreUrl::builder(scheme).path(scratch.path().join("store"));
    let url = if scheme == "lxc" { url.option("name", "test").option("rundir", scratch.path().display()) } else { url };
    lock_any::create(url).unwrap()
}

/// A store that is destroyed after a failure, too, because semaphores are not in the scratch directory.
struct Removed {
    store: Store,
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = self.store.destroy();
    }
}

#[test]
fn a_cancelled_wait_ends_and_does_not_hold_the_lock() {
    on_each(|scheme, lock| {
        let cancellation = Cancellation::new();
        let cancelled = &cancellation;
        let guard = lock.lock().unwrap();
        thread::scope(|scope| {
            let (told, waits) = mpsc::channel();
            let mut notify = move |_: &Waiting| told.send(()).unwrap_or_default();
            let waiter = scope.spawn(move || {
                let wait = WaitOptions::new().cancellation(cancelled);
                lock.lock_with(wait.notify_every(Duration::from_millis(1), &mut notify)).map(drop)
            });
            waits.recv().unwrap();
            cancellation.cancel();
            let error = waiter.join().unwrap().unwrap_err();
            let ErrorDetails::Cancelled { waited, held_by, .. } = error.details() else { panic!("{scheme}: {error}") };
            assert!(!waited.is_zero(), "{scheme}");
            let names_owner = held_by.holder().is_some_and(|holder| holder.pid == process::id());
            assert!(names_owner || scheme == "lxc", "{scheme}: {held_by}");
        });
        drop(guard);
        drop(lock.try_lock().unwrap().expect("no thread holds the lock"));
        let late = lock.lock_with(WaitOptions::new().cancellation(&cancellation));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Cancelled, "{scheme}: the wait begins after the cancellation");
    });
}

#[test]
fn a_wait_with_a_cancellation_acquires_a_lock_that_is_released() {
    on_each(|scheme, lock| {
        let cancellation = Cancellation::new();
        let cancelled = &cancellation;
        let guard = lock.lock().unwrap();
        thread::scope(|scope| {
            let (told, waits) = mpsc::channel();
            let mut notices = 0;
            let mut notify = move |waiting: &Waiting| {
                notices += 1;
                assert!(waiting.to_string().starts_with("waiting for "), "{waiting}");
                if notices == 3 {
                    told.send(()).unwrap();
                }
            };
            let waiter = scope.spawn(move || {
                let wait = WaitOptions::new().timeout(FAR).cancellation(cancelled);
                lock.lock_owned_with(wait.notify_every(Duration::from_millis(1), &mut notify)).unwrap().unlock().unwrap();
            });
            waits.recv().unwrap();
            assert!(!waiter.is_finished(), "{scheme}: the lock is held");
            guard.unlock().unwrap();
            waiter.join().unwrap();
        });
    });
}

#[test]
fn a_deadline_ends_a_wait_with_a_cancellation() {
    on_each(|scheme, lock| {
        let cancellation = Cancellation::new();
        let _guard = lock.lock().unwrap();
        let timeout = Duration::from_millis(5);
        let wait = || lock.lock_with(WaitOptions::new().timeout(timeout).cancellation(&cancellation)).map(drop);
        let error = thread::scope(|scope| scope.spawn(wait).join().unwrap().unwrap_err());
        let ErrorDetails::TimedOut { waited, .. } = error.details() else { panic!("{scheme}: {error}") };
        assert!(*waited >= timeout - Duration::from_millis(1), "{scheme}: {waited:?}");
    });
}

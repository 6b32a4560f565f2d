//! Guards that belong to the process, with the backend in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use lock_core::{Cancellation, Cause, Deadline, ErrorKind, Lock, SendGuard, WaitOptions};

#[allow(unreachable_pub, reason = "the examples of the documentation include the file, too")]
mod memory {
    include!("memory/backend.rs");
}

fn lock() -> Lock {
    memory::store().unwrap().allocate("").unwrap()
}

/// Drops the value while the calling thread panics.
fn drop_in_panic<T>(value: T) {
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _value = value;
        panic!("a panic that the test asks for");
    }));
    unwound.unwrap_err();
}

fn cause(lock: &Lock) -> Option<Cause> {
    lock.lock_send().unwrap().recovered().map(|death| death.cause)
}

/// Acquires a lock when it is dropped.
struct Acquires<'a>(&'a Lock, &'a mut Option<SendGuard<'static>>);

impl Drop for Acquires<'_> {
    fn drop(&mut self) {
        *self.1 = Some(self.0.lock_send_owned().unwrap());
    }
}

#[test]
fn another_thread_releases_the_lock() {
    let lock = lock();
    let owned = lock.lock_send_owned().unwrap();
    thread::spawn(move || owned.unlock()).join().unwrap().unwrap();
    let guard = lock.lock_send().unwrap();
    assert_eq!(guard.lock().id(), lock.id());
    thread::scope(|scope| scope.spawn(|| drop(guard)).join().unwrap());
    drop(lock.lock().unwrap());
}

#[test]
fn a_panic_of_any_thread_is_reported() {
    let lock = lock();
    drop_in_panic(lock.lock_send_owned().unwrap());
    assert_eq!(cause(&lock), Some(Cause::Panicked));
    let mut guard = lock.lock_send().unwrap();
    guard.mark_consistent().unwrap();
    drop(guard);
    assert_eq!(cause(&lock), None);
    let guard = lock.lock_send_owned().unwrap();
    thread::spawn(move || drop_in_panic(guard)).join().unwrap();
    assert_eq!(cause(&lock), Some(Cause::Panicked));
}

#[test]
fn a_guard_from_a_panicking_thread_is_reported_if_another_thread_panics() {
    let lock = lock();
    let mut guard = None;
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _acquires = Acquires(&lock, &mut guard);
        panic!("a panic that the test asks for");
    }));
    unwound.unwrap_err();
    // Acquired by this thread while it panicked, and released by another one that panics.
    let guard = guard.unwrap();
    thread::spawn(move || drop_in_panic(guard)).join().unwrap();
    assert_eq!(cause(&lock), Some(Cause::Panicked));
}

#[test]
fn a_guard_that_a_panicking_thread_acquires_and_releases_is_consistent() {
    struct LocksOnDrop<'a>(&'a Lock);

    impl Drop for LocksOnDrop<'_> {
        fn drop(&mut self) {
            drop(self.0.lock_send().unwrap());
        }
    }

    let lock = lock();
    drop_in_panic(LocksOnDrop(&lock));
    assert_eq!(cause(&lock), None);
}

#[test]
fn waits_with_options_return_guards_of_the_process() {
    let lock = lock();
    drop(lock.lock_send_with(WaitOptions::new()).unwrap());
    drop(lock.lock_send_owned_with(WaitOptions::new().timeout(Duration::from_secs(1))).unwrap());
    drop(lock.lock_send_owned_by(Deadline::Never).unwrap());
    drop(lock.try_lock_send_owned_for(Duration::from_secs(1)).unwrap());
    let cancellation = Cancellation::new();
    cancellation.cancel();
    let error = lock.lock_send_with(WaitOptions::new().cancellation(&cancellation)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(lock.try_lock_send().unwrap().is_some());
}

#[test]
fn a_backend_that_does_not_support_it_refuses() {
    #[derive(Debug)]
    struct OfThreads;

    impl lock_core::RawLock for OfThreads {
        fn acquire(&self, _: Deadline) -> lock_core::Result<lock_core::Acquired> {
            Ok(lock_core::Acquired::Held { token: 0 })
        }

        fn release(&self, _: lock_core::Proof) -> lock_core::Result<()> {
            Ok(())
        }
    }

    let lock = Lock::standalone(std::sync::Arc::new(OfThreads), "a lock", lock_core::StoreId::new(1));
    assert_eq!(lock.lock_send().unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(lock.try_lock_send().unwrap_err().kind(), ErrorKind::Unsupported);
    drop(lock.lock().unwrap());
}

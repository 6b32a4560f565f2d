//! Tests of plain data that a lock of each backend protects. `cargo xtask tsan` runs them under ThreadSanitizer, which reports
//! unordered accesses.

use std::cell::UnsafeCell;
use std::thread;

use real_core::{Lock, OpenMode, Registry, Store};

const THREADS: u64 = 4;
const TIMES: u64 = 300;

/// Data that a lock protects.
#[derive(Debug, Default)]
struct Protected(UnsafeCell<u64>);

// SAFETY: only the holder of the lock accesses the value.
unsafe impl Sync for Protected {}

impl Protected {
    fn add(&self, lock: &Lock, number: u64) {
        // Use each way to acquire the lock.
        if number % 4 == 3 {
            let guard = lock.lock_send().unwrap();
            // SAFETY: this process holds the lock for this thread alone, so no other thread accesses the value.
            unsafe { *self.0.get() += 1 };
            return drop(guard);
        }
        let guard = match number % 4 {
            0 => lock.lock().unwrap(),
            1 => lock.try_lock_for(std::time::Duration::from_secs(60)).unwrap(),
            _ => loop {
                if let Some(guard) = lock.try_lock().unwrap() {
                    break guard;
                }
                thread::yield_now();
            },
        };
        // SAFETY: this thread holds the lock, so no other thread accesses the value.
        unsafe { *self.0.get() += 1 };
        drop(guard);
    }
}

fn registry() -> Registry {
    Registry::default().merge([lock_shm::BACKEND, lock_file::BACKEND].into_iter().chain(lock_sem::BACKENDS)).unwrap()
}

/// Runs threads that share one handle, or have one each.
fn check(scheme: &str, shared: bool) {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let url = format!("{scheme}:{}/store", directory.path().display());
    let store = Store::open(&registry(), &url, OpenMode::Create).unwrap();
    let lock = store.allocate("ordering").unwrap();
    let protected = Protected::default();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, lock, protected) = (&store, &lock, &protected);
            scope.spawn(move || {
                let own = store.retrieve(lock.id()).unwrap();
                let lock = if shared { lock } else { &own };
                (0..TIMES).for_each(|time| protected.add(lock, thread + time));
            });
        }
    });
    assert_eq!(protected.0.into_inner(), THREADS * TIMES);
    drop(lock);
    store.destroy().unwrap();
}

#[test]
fn shm_orders_threads() {
    check("shm", false);
    check("shm", true);
}

#[test]
fn file_orders_threads() {
    check("file", false);
    check("file", true);
}

#[test]
fn sem_orders_threads() {
    check("sem", false);
    check("sem", true);
}

#[test]
fn posix_sem_orders_threads() {
    check("posix-sem", false);
    check("posix-sem", true);
}

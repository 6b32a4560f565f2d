//! What lock and unlock cost, uncontended, next to what one would use otherwise: `cargo xtask bench`.
//!
//! Absolute times mean little on a shared machine, so the subjects take turns in short rounds, in another order each time, and what
//! counts is each round's ratio to the reference of the same round: its median, and the quartiles as the spread.

mod pthread;
mod rounds;

use std::sync::atomic::{AtomicU32, Ordering};

use rounds::{Subject, compare};

fn main() {
    // `cargo test --benches` only wants to know whether it runs.
    let rounds = if std::env::args().any(|arg| arg == "--bench") { 61 } else { 3 };
    let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a scratch directory");
    let url = format!("shm:{}/locks", scratch.path().display());
    let store = lock_any::create(&url).expect("a store");
    let lock = store.allocate("benchmark").expect("a lock");
    let mutex = pthread::RobustMutex::new();
    let word = AtomicU32::new(0);

    let report = compare(
        rounds,
        vec![
            Subject::new("glibc robust mutex, process-shared", || mutex.lock_and_unlock()),
            Subject::new("bare compare-exchange and exchange", || {
                let _ = word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
                word.swap(0, Ordering::Release);
            }),
            Subject::new("Lock on shm, opened by URL", || drop(lock.lock().expect("the lock"))),
        ],
    );
    print!("{report}");
    store.destroy().expect("the store is removed");
}

//! Compares lock and unlock of `sem` with two bare `semop` calls: `cargo run --release -p lock-sem --example bare`.
//!
//! Short rounds of the two alternate, and the fastest round of each counts. So other load on the machine has little effect.
#![allow(unsafe_code)]

use std::time::Instant;

use lock_core::{OpenMode, Registry, Store, StoreUrl};

const ROUNDS: usize = 1000;
const PAIRS: u32 = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let url = StoreUrl::builder("sem").path(directory.path().join("store")).option("capacity", 1024).build()?;
    let store = Store::open(&Registry::default().merge(lock_sem::BACKENDS)?, &url, OpenMode::Create)?;
    let set = BareSet::new();
    let lock = store.allocate("bare")?;
    let (mut bare, mut ours) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        bare = bare.min(nanoseconds(|| set.pair()));
        ours = ours.min(nanoseconds(|| drop(lock.lock().expect("no other thread has the lock"))));
    }
    println!("two bare semop: {bare:.0} ns; lock and unlock: {ours:.0} ns, {:.2} times as much", ours / bare);
    store.destroy()?;
    Ok(())
}

/// Measures the nanoseconds of one call.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..PAIRS).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e9 / f64::from(PAIRS)
}

/// A set with one semaphore of the value 1. It is removed on drop.
struct BareSet(libc::c_int);

impl BareSet {
    fn new() -> Self {
        // SAFETY: the call takes numbers only.
        let set = Self(unsafe { libc::semget(libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600) });
        assert!(set.0 >= 0);
        set.operate(1, 0);
        set
    }

    fn pair(&self) {
        self.operate(-1, libc::SEM_UNDO);
        self.operate(1, libc::SEM_UNDO);
    }

    fn operate(&self, change: i16, flags: libc::c_int) {
        let mut step = libc::sembuf { sem_num: 0, sem_op: change, sem_flg: flags as i16 };
        // SAFETY: the pointer refers to one valid step.
        assert_eq!(unsafe { libc::semop(self.0, &raw mut step, 1) }, 0);
    }
}

impl Drop for BareSet {
    fn drop(&mut self) {
        // SAFETY: the call takes numbers only.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

//! What a lock costs beside the calls that it is made of, in one run, as ratios: absolute times mean nothing on a shared machine.
//!
//! `cargo run --release --example bare`

use std::time::{Duration, Instant};

use lock_core::{OpenMode, Registry, Store};

/// Pairs in a round, and rounds: the least of the rounds counts, since others run on the machine too.
const PAIRS: u32 = 20_000;
const ROUNDS: u32 = 25;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let registry = Registry::default().merge(lock_sem::BACKENDS)?;
    let bare = Bare::new();
    let mut least = Duration::MAX;
    let mut rows = Vec::new();
    for scheme in ["sem", "posix-sem"] {
        let url = format!("{scheme}:{}/{scheme}", directory.path().display());
        let store = Store::open(&registry, &url, OpenMode::Create)?;
        let lock = store.allocate("a comparison")?;
        let mut ours = Duration::MAX;
        for _ in 0..ROUNDS {
            least = least.min(time(|| bare.pair()));
            ours = ours.min(time(|| drop(lock.lock().expect("nobody else has it"))));
        }
        rows.push((format!("{scheme}: lock and unlock"), ours));
        store.destroy()?;
    }
    let anonymous = lock_sem::anonymous();
    let ours = (0..ROUNDS).map(|_| time(|| drop(anonymous.lock().expect("nobody else has it")))).min().expect("there are rounds");
    rows.push(("anonymous: lock and unlock".to_owned(), ours));
    println!("{:32} {:>7.1} ns", "two bare semop calls (SEM_UNDO)", each(least));
    for (what, ours) in rows {
        println!("{what:32} {:>7.1} ns, {:.3} times that", each(ours), each(ours) / each(least));
    }
    Ok(())
}

fn time(mut pair: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..PAIRS).for_each(|_| pair());
    start.elapsed()
}

fn each(round: Duration) -> f64 {
    round.as_nanos() as f64 / f64::from(PAIRS)
}

/// A semaphore, taken and given with nothing around it.
struct Bare(i32);

impl Bare {
    fn new() -> Self {
        // SAFETY: the call takes numbers only.
        let set = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
        assert!(set >= 0, "a set can be made");
        let bare = Self(set);
        bare.operate(1, 0);
        bare
    }

    fn pair(&self) {
        self.operate(-1, libc::SEM_UNDO);
        self.operate(1, libc::SEM_UNDO);
    }

    fn operate(&self, change: i16, flags: i32) {
        let mut step = libc::sembuf { sem_num: 0, sem_op: change, sem_flg: flags as i16 };
        // SAFETY: there is one step, and it is valid.
        assert_eq!(unsafe { libc::semop(self.0, &raw mut step, 1) }, 0);
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // SAFETY: the call takes numbers only.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

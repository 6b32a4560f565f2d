//! Single calls before and after a change: `cargo bench --package lock-bench`.
//!
//! Criterion compares a run with the last one. Comparisons with other locks need alternating turns: `cargo xtask bench`.

use std::hint::black_box;

use criterion::Criterion;
use lock_any::Store;

fn calls(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    for scheme in ["shm", "file", "sem", "posix-sem"] {
        let url = format!("{scheme}:{}/{scheme}", scratch.path().display());
        let store = Removed(lock_any::create(&url).expect("a store"));
        let lock = store.0.allocate("benchmark").expect("a lock");
        let id = lock.id();
        let mut group = criterion.benchmark_group(scheme);
        group.bench_function("lock and unlock", |bencher| bencher.iter(|| drop(lock.lock().expect("it is free"))));
        group.bench_function("retrieve", |bencher| bencher.iter(|| store.0.retrieve(black_box(id)).expect("it is in range")));
        group.bench_function("allocate and free", |bencher| {
            bencher.iter(|| store.0.allocate("benchmark").and_then(|lock| lock.free()).expect("there is room"));
        });
        group.bench_function("held", |bencher| bencher.iter(|| store.0.held().expect("a list")));
        group.bench_function("holder", |bencher| bencher.iter(|| lock.holder().expect("it can be read")));
        group.bench_function("open again", |bencher| bencher.iter(|| lock_any::open(&url).expect("it is there")));
        group.finish();
    }
}

/// A store that is destroyed even if a benchmark panics, because semaphores are not in the scratch directory.
struct Removed(Store);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = self.0.destroy();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    calls(&mut criterion);
    criterion.final_summary();
}

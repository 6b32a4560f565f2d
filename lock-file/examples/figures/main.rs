//! Prints what the backend's promises come to on this machine: `cargo run --release -p lock-file --example figures`.
//!
//! Costs are ratios to bare system calls, measured in turns in the same run; latencies are between processes.

mod cost;
mod latency;
mod owner;

use std::path::Path;
use std::time::Duration;

use lock_core::{OpenMode, Result, Store};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [role, place] = arguments.as_slice() {
        return owner::run(role, Path::new(place));
    }
    // Where temporary files are is often no tmpfs; the file system makes no difference to a lock.
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let store = open(scratch.path())?;
    cost::print(&store, scratch.path())?;
    latency::print(&store, scratch.path())?;
    store.destroy()
}

/// The store in a directory.
fn open(scratch: &Path) -> Result<Store> {
    let url = format!("file:{}", scratch.join("store").display());
    Store::with_backend(&lock_file::BACKEND, &url.parse()?, OpenMode::OpenOrCreate)
}

/// The present moment on the monotonic clock, which all processes share.
fn now() -> Duration {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    nix::time::clock_gettime(clock).expect("there is a monotonic clock").into()
}

/// The value that this part of the others does not exceed.
fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    values[((values.len() - 1) as f64 * part).round() as usize]
}

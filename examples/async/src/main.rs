//! Async tasks that hold a lock over `.await`: `cargo run --package example-async -- DIR`.
//!
//! Two processes, each with several tasks on several threads, increment a number in a file. A task reads the number, pauses, and
//! writes the next one. Without the lock, increments would be lost.
#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lock_any::{Lock, LockAsync, StoreUrl};
use tokio::process::Command;
use tokio::task::{self, JoinSet};
use tokio::{fs, time};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const TASKS: u64 = 8;
const INCREMENTS: u64 = 10;

/// The argument of the second process.
const SECOND: &str = "--second";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [dir] => first(PathBuf::from(dir)).await,
        [dir, second] if second == SECOND => increment(PathBuf::from(dir)).await,
        _ => Err("usage: example-async DIR".into()),
    }
}

/// Starts the second process, and increments beside it.
async fn first(dir: PathBuf) -> Result<()> {
    fs::create_dir_all(&dir).await?;
    fs::write(number_in(&dir), "0").await?;
    let mut second = Command::new(env::current_exe()?).arg(&dir).arg(SECOND).kill_on_drop(true).spawn()?;
    increment(dir.clone()).await?;
    if !second.wait().await?.success() {
        return Err("the second process failed".into());
    }
    let number = fs::read_to_string(number_in(&dir)).await?;
    println!("two processes made {number} of {} increments", 2 * TASKS * INCREMENTS);
    Ok(())
}

/// Increments the number in several tasks.
async fn increment(dir: PathBuf) -> Result<()> {
    let url = StoreUrl::builder("shm").path(dir.join("locks")).build()?;
    // Opening a store may block.
    let store = task::spawn_blocking(|| lock_any::open_or_create(url)).await??;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        tasks.spawn(increment_in_task(store.get_or_allocate(0, "the number")?, dir.clone()));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn increment_in_task(lock: Lock, dir: PathBuf) -> Result<()> {
    for _ in 0..INCREMENTS {
        let guard = lock.lock_async().await?;
        // The guard belongs to the process, so that the task may continue on another thread.
        let number: u64 = fs::read_to_string(number_in(&dir)).await?.parse()?;
        time::sleep(Duration::from_micros(100)).await;
        fs::write(number_in(&dir), (number + 1).to_string()).await?;
        guard.unlock()?;
    }
    Ok(())
}

fn number_in(dir: &Path) -> PathBuf {
    dir.join("number")
}

//! Commands that use robust mutexes of libc, as a program may in addition to locks.
//!
//! Each mutex has its own file.

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use lock_core::{Error, Result};

use super::worker::Worker;
use crate::protocol::Fields;
use crate::sys::{self, MUTEX_WORDS, Mutexed};

impl Worker {
    pub(super) fn use_mutexes(&self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("make_mutex", [path]) => make(path),
            ("recover_mutex", [path]) => recover(path),
            _ => return None,
        })
    }
}

/// Creates a mutex and locks it.
fn make(path: &str) -> Result<Fields> {
    let made = || {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len((MUTEX_WORDS * size_of::<AtomicU64>()) as u64)?;
        sys::make_robust_mutex(sys::map_words(&file, MUTEX_WORDS)?)
    };
    let mutex = made().map_err(|error| Error::system("make a mutex", error))?;
    match mutex.try_lock().map_err(|error| Error::system("pthread_mutex_trylock", error))? {
        Mutexed::Locked => Ok(Fields::new()),
        other => panic!("a new mutex is {other:?}"),
    }
}

/// Locks a mutex if it is free or its owner is dead, and unlocks it.
fn recover(path: &str) -> Result<Fields> {
    let open = || {
        let file = File::options().read(true).write(true).open(path)?;
        sys::find_robust_mutex(sys::map_words(&file, MUTEX_WORDS)?)
    };
    let recovered = || -> io::Result<&str> {
        let mutex = open()?;
        let outcome = match mutex.try_lock()? {
            Mutexed::Busy => return Ok("busy"),
            Mutexed::Locked => "free",
            Mutexed::OwnerDied => "owner_dead",
        };
        mutex.unlock()?;
        Ok(outcome)
    };
    let outcome = recovered().map_err(|error| Error::system("pthread_mutex_trylock", error))?;
    Ok(Fields::new().with("outcome", outcome))
}

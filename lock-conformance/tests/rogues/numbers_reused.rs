//! Wrong backends that use a descriptor number without checking which file it refers to.

use std::fs::File;
use std::io::Write;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lock_core::{Acquired, Deadline, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::number::{Number, inode_of, link_of};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<LogsToReusedNumbers>(),
        faulty::<LogsToDuplicatedNumbers>(),
        faulty::<LogsToInheritedNumbers>(),
        faulty::<ClosesWhatItDrops>(),
    ]
}

/// The number of a log, the number of a second file for a check of the log, and the process that opened both.
static LOG: Number = Number::none();
static SECOND: Number = Number::none();
static OPENER: AtomicU32 = AtomicU32::new(0);

fn open_logs(url: &StoreUrl, mode: OpenMode, second: &str) -> Result<Arc<dyn Manager>> {
    let store = reference::open(url, mode)?;
    LOG.open(&url.location().join("log"))?;
    SECOND.open(&url.location().join(second))?;
    OPENER.store(process::id(), Ordering::Relaxed);
    Ok(store)
}

/// Writes a line to the file of the log number.
fn log() {
    let Some(number) = LOG.get() else { return };
    if let Ok(mut file) = File::options().append(true).open(link_of(number)) {
        let _ = file.write_all(b"an acquisition\n");
    }
}

/// Returns the inodes of the files that are open under the two numbers.
fn inodes() -> Option<(u64, u64)> {
    Some((inode_of(LOG.get()?)?, inode_of(SECOND.get()?)?))
}

fn in_opener() -> bool {
    OPENER.load(Ordering::Relaxed) == process::id()
}

#[derive(Debug)]
struct LogsToReusedNumbers;

impl Fault for LogsToReusedNumbers {
    const NAME: &'static str = "logs-to-reused-numbers";
    const FAULT: &'static str = "Writes to a descriptor number while it and a second one still refer to two different files";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("descriptors::a_program_file_under_a_reused_number_is_unchanged", "has another size")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_logs(url, mode, "log-2")
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if in_opener() && inodes().is_some_and(|(log, second)| log != second) {
            log();
        }
        honest.acquire(deadline)
    }
}

#[derive(Debug)]
struct LogsToDuplicatedNumbers;

impl Fault for LogsToDuplicatedNumbers {
    const NAME: &'static str = "logs-to-duplicated-numbers";
    const FAULT: &'static str = "Writes to a descriptor number while it and a second one still refer to the same file";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("descriptors::a_program_file_duplicated_over_a_number_is_unchanged", "has another size")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_logs(url, mode, "log")
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if inodes().is_some_and(|(log, second)| log == second) {
            log();
        }
        honest.acquire(deadline)
    }
}

#[derive(Debug)]
struct LogsToInheritedNumbers;

impl Fault for LogsToInheritedNumbers {
    const NAME: &'static str = "logs-to-inherited-numbers";
    const FAULT: &'static str = "Checks its descriptor numbers in the process that opened them, but not in a forked child";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("descriptors::a_child_that_closes_everything_and_opens_a_log_keeps_exclusion", "has another size")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_logs(url, mode, "log")
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if !in_opener() {
            log();
        }
        honest.acquire(deadline)
    }
}

#[derive(Debug)]
struct ClosesWhatItDrops;

impl Fault for ClosesWhatItDrops {
    const NAME: &'static str = "closes-what-it-drops";
    const FAULT: &'static str = "Closes the descriptor number of a dropped handle without checking which file it refers to";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("descriptors::dropping_handle_and_store_closes_no_program_file", "was closed")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let handle = ClosedOnDrop { honest: honest.lock(id)?, number: Number::none() };
        handle.number.open(&url.location().join("handle"))?;
        Ok(Arc::new(handle))
    }
}

#[derive(Debug)]
struct ClosedOnDrop {
    honest: Arc<dyn RawLock>,
    number: Number,
}

impl RawLock for ClosedOnDrop {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.honest.acquire(deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<lock_core::Holder>> {
        self.honest.holder()
    }
}

impl Drop for ClosedOnDrop {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            let _ = nix::unistd::close(number);
        }
    }
}

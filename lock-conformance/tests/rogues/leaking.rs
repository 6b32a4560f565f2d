//! Backends that leave something behind with each handle, acquisition or time-out.

use std::fs::File;
use std::hint::black_box;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use lock_core::{Acquired, Deadline, Error, LockId, Manager, RawLock, Result, StoreUrl};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::Sinner;
use super::sin::{Sin, sinner};
use super::sys;

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<KeepsADescriptorForEachHandle>(),
        sinner::<KeepsABlockForEachAcquisition>(),
        sinner::<KeepsADescriptorForEachTimeOut>(),
        sinner::<LeavesASemaphoreSet>(),
        sinner::<PassesDescriptorsOn>(),
    ]
}

/// Opens a file and never closes it.
fn leak() -> Result<()> {
    // The numbers below 3 are the program's.
    let file = File::open("/dev/null").and_then(|file| file.try_clone());
    mem::forget(file.map_err(|error| Error::system("open", error))?);
    Ok(())
}

/// Opens a file for each handle, and does not close it.
#[derive(Debug)]
struct KeepsADescriptorForEachHandle;

impl Sin for KeepsADescriptorForEachHandle {
    const NAME: &'static str = "keeps-a-descriptor-for-each-handle";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("leaks::handles_leave_nothing_behind", "after 100 handles, the process has"),
        ("leaks::stores_leave_nothing_behind", "after 100 openings of the store, the process has"),
    ];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        leak()?;
        honest.lock(id)
    }
}

/// Allocates memory for each acquisition, and does not free it.
#[derive(Debug)]
struct KeepsABlockForEachAcquisition;

impl Sin for KeepsABlockForEachAcquisition {
    const NAME: &'static str = "keeps-a-block-for-each-acquisition";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("leaks::acquisitions_leave_nothing_behind", "20000 acquisitions make the process larger, three times in a row")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        mem::forget(black_box(Box::new([1_u64; 4])));
        honest.acquire(deadline)
    }
}

/// Opens a file for each wait with a deadline, and does not close it when the wait ends in a time-out.
#[derive(Debug)]
struct KeepsADescriptorForEachTimeOut;

impl Sin for KeepsADescriptorForEachTimeOut {
    const NAME: &'static str = "keeps-a-descriptor-for-each-time-out";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("leaks::time_outs_leave_nothing_behind", "after 2000 time-outs, the process has")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire(deadline)?;
        if acquired == Acquired::TimedOut && matches!(deadline, Deadline::At(_)) {
            leak()?;
        }
        Ok(acquired)
    }
}

/// Makes a semaphore set for the last lock, and does not remove it with the store.
#[derive(Debug)]
struct LeavesASemaphoreSet;

impl Sin for LeavesASemaphoreSet {
    const NAME: &'static str = "leaves-a-semaphore-set";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("leaks::a_destroyed_store_leaves_nothing_in_the_kernel", "are still there")];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        if honest.capacity() == Some(u64::from(id.get()) + 1) {
            sys::make_semaphore().map_err(|error| Error::system("semget", error))?;
        }
        honest.lock(id)
    }
}

/// Opens a file that stays open in programs that are executed.
#[derive(Debug)]
struct PassesDescriptorsOn;

impl Sin for PassesDescriptorsOn {
    const NAME: &'static str = "passes-descriptors-on";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("leaks::a_program_that_is_executed_inherits_nothing", "store/header")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let header = File::open(format!("{}/header", url.place())).map_err(|error| Error::system("open", error))?;
        let kept = header.try_clone().map_err(|error| Error::system("fcntl", error))?;
        fcntl(sys::by_number(kept.as_raw_fd()), FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|errno| Error::system("fcntl", errno))?;
        mem::forget(kept);
        honest.lock(id)
    }
}

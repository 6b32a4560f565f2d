//! Wrong backends that leak a resource with each handle, acquisition or timeout.

use std::fs::File;
use std::hint::black_box;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};

use lock_core::{Acquired, Deadline, Error, LockId, Manager, RawLock, Result, StoreUrl};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::rarely::{Operation, rarely};
use super::sys;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<KeepsADescriptorForEachHandle>(),
        rarely::<KeepsADescriptorForEachHandle>(),
        faulty::<KeepsABlockForEachAcquisition>(),
        rarely::<KeepsABlockForEachAcquisition>(),
        faulty::<KeepsADescriptorForEachTimeOut>(),
        rarely::<KeepsADescriptorForEachTimeOut>(),
        faulty::<LeavesASemaphoreSet>(),
        rarely::<LeavesASemaphoreSet>(),
        faulty::<PassesDescriptorsOn>(),
        rarely::<PassesDescriptorsOn>(),
    ]
}

/// Opens a file and never closes it.
fn leak() -> Result<()> {
    // The program owns the numbers below 3; `try_clone` returns a greater one.
    let file = File::open("/dev/null").and_then(|file| file.try_clone());
    mem::forget(file.map_err(|error| Error::system("open", error))?);
    Ok(())
}

#[derive(Debug)]
struct KeepsADescriptorForEachHandle;

impl Fault for KeepsADescriptorForEachHandle {
    const NAME: &'static str = "keeps-a-descriptor-for-each-handle";
    const FAULT: &'static str = "Opens a file for each handle without closing it";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("leaks::handles_leave_nothing_behind", "after 1000 handles, the process has"),
        ("leaks::stores_leave_nothing_behind", "after 700 openings of the store, the process has"),
    ];
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        leak()?;
        honest.lock(id)
    }
}

#[derive(Debug)]
struct KeepsABlockForEachAcquisition;

impl Fault for KeepsABlockForEachAcquisition {
    const NAME: &'static str = "keeps-a-block-for-each-acquisition";
    const FAULT: &'static str = "Allocates memory for each acquisition without freeing it";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("leaks::acquisitions_leave_nothing_behind", "20000 acquisitions make the process larger, each of 6 times")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Try, Operation::Wait, Operation::WaitUntil];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        mem::forget(black_box(Box::new([1_u64; 4])));
        honest.acquire(deadline)
    }
}

#[derive(Debug)]
struct KeepsADescriptorForEachTimeOut;

impl Fault for KeepsADescriptorForEachTimeOut {
    const NAME: &'static str = "keeps-a-descriptor-for-each-time-out";
    const FAULT: &'static str = "Opens a file for each wait with a deadline, and does not close it after a timeout";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("leaks::time_outs_leave_nothing_behind", "after 2000 time-outs, the process has")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::WaitUntil];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire(deadline)?;
        if acquired == Acquired::TimedOut && matches!(deadline, Deadline::At(_)) {
            leak()?;
        }
        Ok(acquired)
    }
}

#[derive(Debug)]
struct LeavesASemaphoreSet;

impl Fault for LeavesASemaphoreSet {
    const NAME: &'static str = "leaves-a-semaphore-set";
    const FAULT: &'static str = "Creates a semaphore set for the last lock, and does not remove it with the store";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("leaks::a_destroyed_store_leaves_nothing_in_the_kernel", "are still there")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        if honest.capacity() == Some(u64::from(id.get()) + 1) {
            sys::make_semaphore().map_err(|error| Error::system("semget", error))?;
        }
        honest.lock(id)
    }
}

#[derive(Debug)]
struct PassesDescriptorsOn;

impl Fault for PassesDescriptorsOn {
    const NAME: &'static str = "passes-descriptors-on";
    const FAULT: &'static str = "Keeps a file open without FD_CLOEXEC";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("leaks::a_program_that_is_executed_inherits_nothing", "store/header")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Handle];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        static KEPT: OnceLock<File> = OnceLock::new();
        if let Ok(kept) = File::open(format!("{}/header", url.location().display())).and_then(|header| header.try_clone()) {
            let _ = fcntl(sys::by_number(kept.as_raw_fd()), FcntlArg::F_SETFD(FdFlag::empty()));
            let _ = KEPT.set(kept);
        }
        honest.lock(id)
    }
}

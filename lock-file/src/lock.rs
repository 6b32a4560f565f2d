use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;

use lock_core::fork::{self, Descriptor, PerProcess};
use lock_core::table::{Owner, Slot};
use lock_core::{Acquired, Deadline, ErrorKind, Generation, Holder, Proof, RawLock, Result};

use crate::directory::Directory;
use crate::{descriptors, hub, ofd, wait};

/// What the claim on a handle's descriptor is for, in its lowest bits; above them is the epoch, so that a forked child sees nothing in
/// what it inherits.
const FREE: u64 = 0;
/// An attempt that does not wait.
const TRYING: u64 = 1;
/// An attempt that waits in the kernel.
const WAITING: u64 = 2;
/// The lock is held.
const HELD: u64 = 3;
const STATE: u64 = 3;

/// How often a thread gives way to another one's attempt, which is over soon, before it takes the lock for busy.
const YIELDS: u32 = 100;

/// A lock: a file, and its line of the table.
///
/// To the kernel the lock belongs to the open file description, so that it would let all threads in that share one. They exclude
/// each other by the claim: a thread has it from before it asks the kernel until after it has given the lock back.
///
/// Those who wait with a deadline set `waiters` in the line; the owner, when it has released, takes it back and calls them.
#[derive(Debug)]
pub(crate) struct FileLock {
    slot: Slot,
    directory: Arc<Directory>,
    /// Opened with the first attempt. It is `None` only while it is dropped.
    file: PerProcess<Option<Descriptor>>,
    claim: AtomicU64,
}

impl FileLock {
    pub(crate) fn new(slot: Slot, directory: Arc<Directory>) -> Self {
        Self { slot, directory, file: PerProcess::new(), claim: AtomicU64::new(FREE) }
    }

    #[inline]
    fn file(&self) -> Result<BorrowedFd<'_>> {
        let file = self.file.get_or_try_init(|| {
            let file = self.directory.lock_file(self.slot.table(), self.slot.id())?;
            Ok(Some(Descriptor::new(descriptors::above(file)?)))
        })?;
        Ok(file.as_ref().and_then(Descriptor::get).expect("it was opened in this process"))
    }

    /// Claims the descriptor for the calling thread, if no other one has it.
    #[inline]
    fn claim(&self, state: u64) -> bool {
        let epoch = fork::epoch() << 2;
        self.claim.compare_exchange(epoch, epoch | state, SeqCst, Relaxed).is_ok() || self.claim_slowly(epoch, state)
    }

    #[cold]
    fn claim_slowly(&self, epoch: u64, state: u64) -> bool {
        for _ in 0..YIELDS {
            let present = self.claim.load(SeqCst);
            let free = present & !STATE != epoch || present & STATE == FREE;
            if free && self.claim.compare_exchange(present, epoch | state, SeqCst, Relaxed).is_ok() {
                return true;
            }
            if matches!(present & STATE, WAITING | HELD) && !free {
                return false;
            }
            thread::yield_now();
        }
        false
    }

    /// What the claim is for from now on.
    #[inline]
    fn claim_for(&self, state: u64) {
        self.claim.store((fork::epoch() << 2) | state, SeqCst);
    }

    #[inline]
    fn attempt(&self, me: Owner) -> Result<Option<Acquired>> {
        if !self.claim(TRYING) {
            return Ok(None);
        }
        match self.file().and_then(|file| ofd::try_lock(file).map_err(ofd::error)) {
            Ok(true) => Ok(Some(self.acquired(me))),
            other => {
                self.claim_for(FREE);
                other.map(|_| None)
            }
        }
    }

    #[inline]
    fn acquired(&self, me: Owner) -> Acquired {
        self.claim_for(HELD);
        let (token, before) = self.slot.hot().begin(me);
        self.slot.acquired(token, before)
    }

    #[cold]
    fn acquire_slowly(&self, me: Owner, deadline: Deadline) -> Result<Acquired> {
        if self.slot.hot().owner() == me {
            return Err(ErrorKind::AlreadyHeld.into());
        }
        match deadline {
            Deadline::Now => Ok(Acquired::TimedOut),
            Deadline::At(_) => Ok(self.waiting(deadline, || self.attempt(me))?.unwrap_or(Acquired::TimedOut)),
            Deadline::Never => self.acquire_in_the_kernel(me),
        }
    }

    fn acquire_in_the_kernel(&self, me: Owner) -> Result<Acquired> {
        let file = self.file()?;
        if !self.claim(WAITING) {
            // Another thread has this handle's descriptor, and the lock or the next place in the queue.
            self.waiting(Deadline::Never, || Ok(self.claim(WAITING).then_some(())))?;
        }
        match ofd::lock(file) {
            Ok(()) => Ok(self.acquired(me)),
            Err(errno) => {
                self.claim_for(FREE);
                self.call_waiters(file);
                Err(ofd::error(errno))
            }
        }
    }

    fn waiting<T>(&self, deadline: Deadline, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        wait::until(self.file()?, deadline, || {
            // Before the attempt: an owner whom it still meets sees this when it has released.
            self.waiters().store(1, SeqCst);
            attempt()
        })
    }

    /// Whether a thread may be waiting. It is at the same place with every C library, so that their programs can share a store.
    fn waiters(&self) -> &AtomicU64 {
        &self.slot.hot().spare[0]
    }

    #[inline]
    fn call_waiters(&self, file: BorrowedFd<'_>) {
        if self.waiters().load(SeqCst) != 0 {
            self.waiters().store(0, SeqCst);
            // Those who are not called look by themselves, later.
            let _ = hub::call(file);
        }
    }
}

impl RawLock for FileLock {
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let me = self.slot.table().me()?;
        match self.attempt(me)? {
            Some(acquired) => Ok(acquired),
            None => self.acquire_slowly(me, deadline),
        }
    }

    #[inline]
    fn release(&self, _: Proof) -> Result<()> {
        if self.slot.hot().owner() != self.slot.table().me()? {
            return Err(ErrorKind::NotHeld.into());
        }
        let file = self.file()?;
        self.slot.hot().end();
        // The kernel's lock first: a thread that has the claim would be let in by it.
        ofd::unlock(file).map_err(ofd::error)?;
        self.claim_for(FREE);
        self.call_waiters(file);
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.slot.holder())
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}

impl Drop for FileLock {
    /// A lock whose guard was leaked stays held, as its owner's record says: its descriptor stays open for ever.
    fn drop(&mut self) {
        let held = *self.claim.get_mut() == (fork::epoch() << 2) | HELD;
        if held && let Some(file) = self.file.get_mut() {
            std::mem::forget(file.take());
        }
    }
}

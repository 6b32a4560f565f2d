use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use lock_core::PerProcess;
use lock_core::{Acquired, Deadline, Error, ErrorKind, Generation, Holder, Proof, RawLock, Result};
use lock_table::descriptor::Descriptor;
use lock_table::fork;
use lock_table::{Owner, Slot};
use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::directory::Directory;
use crate::{descriptors, idle, ofd, wait};

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

/// The pauses of a thread that has the kernel's lock while the table names a living owner, which lost it.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// A lock: a file, and its line of the table.
///
/// To the kernel the lock belongs to the open file description, so that it would let all threads in that share one. They exclude
/// each other by the claim: a thread has it from before it asks the kernel until after it has given the lock back.
///
/// The kernel's lock alone is no right to enter: a living owner may have lost it, because its program closed the descriptor, or because
/// the file was removed. While the table names an owner that is not proved to be dead, the lock is busy.
///
/// Waiters with a deadline set `waiters` in the line; the owner, when it has released, takes it back and calls them.
#[derive(Debug)]
pub(crate) struct FileLock {
    slot: Slot,
    directory: Arc<Directory>,
    /// Opened with an attempt, and closed when the handle is idle and too many are open. It belongs to the claimant.
    file: PerProcess<Mutex<Option<Descriptor>>>,
    claim: AtomicU64,
    itself: Weak<Self>,
}

type File<'a> = MutexGuard<'a, Option<Descriptor>>;

impl FileLock {
    pub(crate) fn new(slot: Slot, directory: Arc<Directory>) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            slot,
            directory,
            file: PerProcess::new(),
            claim: AtomicU64::new(FREE),
            itself: itself.clone(),
        })
    }

    /// The file, for the claimant.
    #[inline]
    fn file(&self) -> Result<File<'_>> {
        let file = self.file.get_or_try_init(|| Ok(Mutex::default()))?;
        Ok(file.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something with the open file; where the program closed it, once more with a new one.
    #[inline]
    fn with_file<T>(&self, file: &mut Option<Descriptor>, act: impl Fn(&Descriptor) -> Result<T, Errno>) -> Result<T> {
        if let Some(open) = &*file {
            match act(open) {
                Err(errno) if ofd::is_closed(errno) => {}
                done => return done.map_err(|errno| self.refused(errno)),
            }
        }
        let open = file.insert(self.open()?);
        act(open).map_err(|errno| self.refused(errno))
    }

    #[cold]
    fn refused(&self, errno: Errno) -> Error {
        ofd::error(errno).at(&self.path())
    }

    #[cold]
    fn open(&self) -> Result<Descriptor> {
        let open = || {
            fork::undisturbed(|| {
                let file = self.directory.lock_file(self.slot.table(), self.slot.id())?;
                Descriptor::new(descriptors::above(file)?)?.marked()
            })
        };
        let file = match open() {
            Err(error) if is_out_of_descriptors(&error) => {
                idle::close_all();
                open()?
            }
            other => other?,
        };
        idle::opened(self.itself.clone());
        Ok(file)
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
        let attempted = self.file().and_then(|mut file| {
            if !self.with_file(&mut file, ofd::try_lock)? {
                return Ok(None);
            }
            let begun = self.begin(me);
            if begun.is_none() {
                self.unlock(&mut file)?;
                self.close_if_replaced(&mut file);
            }
            Ok(begun)
        });
        self.claim_for(if matches!(attempted, Ok(Some(_))) { HELD } else { FREE });
        attempted
    }

    /// Takes the place of the owner that the table names, unless that one is not proved to be dead. The caller has the kernel's lock.
    #[inline]
    fn begin(&self, me: Owner) -> Option<Acquired> {
        let before = self.slot.hot().owner();
        let free = before.is_none() || self.slot.table().is_dead_or_dying(before);
        free.then(|| self.slot.begin_instead_of(before, me)).flatten()
    }

    /// Closes a file that was removed, or whose name another one has: other threads lock that one.
    #[cold]
    fn close_if_replaced(&self, file: &mut Option<Descriptor>) {
        let is_replaced = |fd: BorrowedFd<'_>| match fs::symlink_metadata(self.path()) {
            Ok(named) => fstat(fd).is_ok_and(|open| (open.st_dev, open.st_ino) != (named.dev(), named.ino())),
            // After a `chroot`, for one, all names are gone.
            Err(error) => error.kind() == io::ErrorKind::NotFound && !self.slot.table().is_destroyed(),
        };
        file.take_if(|file| file.get().is_some_and(is_replaced));
    }

    /// Gives the kernel's lock back. Where the program closed the descriptor, the kernel has done so.
    #[inline]
    fn unlock(&self, file: &mut Option<Descriptor>) -> Result<()> {
        match file.as_ref().map_or(Ok(()), ofd::unlock) {
            Err(errno) if ofd::is_closed(errno) => {
                *file = None;
                Ok(())
            }
            done => done.map_err(|errno| self.refused(errno)),
        }
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
        if !self.claim(WAITING) {
            // Another thread has this handle's descriptor, and the lock or the next place in the queue.
            self.waiting(Deadline::Never, || Ok(self.claim(WAITING).then_some(())))?;
        }
        let acquired = self.file().and_then(|mut file| self.wait_in_the_kernel(&mut file, me));
        self.claim_for(if acquired.is_ok() { HELD } else { FREE });
        if acquired.is_err() {
            self.call_waiters();
        }
        acquired
    }

    fn wait_in_the_kernel(&self, file: &mut Option<Descriptor>, me: Owner) -> Result<Acquired> {
        let mut pause = FIRST_PAUSE;
        loop {
            self.with_file(file, ofd::lock)?;
            // A lock on a description whose last descriptor was closed meanwhile is gone again.
            while file.as_ref().is_some_and(|file| file.get().is_some()) {
                if let Some(acquired) = self.begin(me) {
                    return Ok(acquired);
                }
                self.close_if_replaced(file);
                thread::sleep(pause);
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path_of(self.slot.table().id(), self.slot.id())
    }

    fn waiting<T>(&self, deadline: Deadline, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        wait::until(&self.path(), deadline, || {
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
    fn call_waiters(&self) {
        if self.waiters().load(SeqCst) != 0 {
            self.call_waiters_slowly();
        }
    }

    #[cold]
    fn call_waiters_slowly(&self) {
        self.waiters().store(0, SeqCst);
        self.directory.call(self.slot.table().id(), self.slot.id());
    }
}

fn is_out_of_descriptors(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Limit { source, .. } if source.raw_os_error() == Some(nix::libc::EMFILE))
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
    fn release(&self, proof: Proof) -> Result<()> {
        let me = self.slot.table().me()?;
        if self.slot.hot().owner() != me {
            return Err(ErrorKind::Lost.into());
        }
        let mut file = self.file()?;
        self.slot.end(me, proof.condition());
        // The kernel's lock first: a thread that has the claim would be let in by it.
        let unlocked = self.unlock(&mut file);
        drop(file);
        self.claim_for(FREE);
        self.call_waiters();
        unlocked
    }

    fn mark_consistent(&self) -> Result<()> {
        if self.slot.hot().owner() != self.slot.table().me()? {
            return Err(ErrorKind::Lost.into());
        }
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.slot.holder())
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}

impl idle::Handle for FileLock {
    fn close_if_idle(&self) -> bool {
        let epoch = fork::epoch() << 2;
        let present = self.claim.load(SeqCst);
        let free = present & !STATE != epoch || present & STATE == FREE;
        if !free || self.claim.compare_exchange(present, epoch | TRYING, SeqCst, Relaxed).is_err() {
            return false;
        }
        if let Ok(mut file) = self.file() {
            *file = None;
        }
        self.claim_for(FREE);
        true
    }
}

impl Drop for FileLock {
    /// A lock whose guard was leaked stays held, as its owner's record says: its descriptor stays open.
    fn drop(&mut self) {
        let held = *self.claim.get_mut() == (fork::epoch() << 2) | HELD;
        if held && let Some(file) = self.file.get() {
            std::mem::forget(file.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;
use std::{fs, io};

use lock_core::PerProcess;
use lock_core::{Acquired, Deadline, Error, ErrorDetails, Generation, HeldBy, Holder, OwnerKind, Proof, RawLock, Result};
use lock_table::descriptor::Descriptor;
use lock_table::fork;
use lock_table::{Announcement, Owner, Queue, Slot, Waiting};
use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::claim::{Claim, Purpose};
use crate::directory::Directory;
use crate::open_files::{self, IdleFile};
use crate::wait::{self, Attempt};
use crate::{descriptors, recovery, sys};

/// The longest pause of a thread that has the kernel's lock while the table names a living owner.
///
/// Each pause is twice as long as the previous one.
const LONGEST_OWNER_PAUSE: Duration = Duration::from_millis(20);

/// A lock: a lock file, and a line of the table.
///
/// The kernel's lock belongs to an open file description, so it does not exclude threads that share a descriptor. The [`Claim`]
/// excludes them: a thread has it from before it calls the kernel until after it has released the lock.
///
/// The kernel's lock alone does not make a thread the owner; see [`recovery`].
///
/// A waiter with a deadline sets a flag in the line. The owner clears the flag after its release and wakes the waiters.
///
/// A thread gives way to one for which the lock is reserved; see [`Queue`]. The kernel serves the threads that block in
/// it in their order, but does not know the others. So a thread to which the kernel gave the lock returns it if the lock is reserved.
#[derive(Debug)]
pub(crate) struct FileLock {
    slot: Slot,
    directory: Arc<Directory>,
    /// The open lock file, if any. Only the claimant uses it.
    file: PerProcess<Mutex<Option<Descriptor>>>,
    claim: Claim,
    this: Weak<Self>,
}

type File<'a> = MutexGuard<'a, Option<Descriptor>>;

impl FileLock {
    pub(crate) fn new(slot: Slot, directory: Arc<Directory>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self { slot, directory, file: PerProcess::new(), claim: Claim::default(), this: this.clone() })
    }

    /// Returns the file. Only the claimant may call this.
    #[inline]
    fn file(&self) -> Result<File<'_>> {
        let file = self.file.get_or_try_init(|| Ok(Mutex::default()))?;
        Ok(file.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls `act` with the open file.
    ///
    /// Opens the file again and retries once if the program has closed the descriptor.
    #[inline]
    fn with_file<T>(&self, file: &mut Option<Descriptor>, act: impl Fn(&Descriptor) -> Result<T, Errno>) -> Result<T> {
        if let Some(open) = &*file {
            match act(open) {
                Err(errno) if sys::is_closed(errno) => {}
                done => return done.map_err(|errno| self.error(errno)),
            }
        }
        let open = file.insert(self.open()?);
        act(open).map_err(|errno| self.error(errno))
    }

    #[cold]
    fn error(&self, errno: Errno) -> Error {
        sys::error(errno).at(&self.path())
    }

    #[cold]
    fn open(&self) -> Result<Descriptor> {
        let open = || {
            fork::retry_across_forks(|| {
                let file = self.directory.lock_file(self.slot.table(), self.slot.id())?;
                Descriptor::new(descriptors::above_reserved(file)?)?.marked()
            })
        };
        let file = match open() {
            Err(error) if is_out_of_descriptors(&error) => {
                open_files::close_idle();
                open()?
            }
            other => other?,
        };
        open_files::register(self.this.clone());
        Ok(file)
    }

    #[inline]
    fn acquire_as(&self, kind: OwnerKind, deadline: Deadline, waiting: &Waiting<'_>) -> Result<Acquired> {
        let caller = self.slot.table().current_owner()?;
        let me = caller.of_kind(kind);
        match self.attempt_in_turn(caller, me, waiting)? {
            Attempt::Acquired(acquired) => Ok(acquired),
            _ => self.acquire_slowly(caller, me, deadline, waiting),
        }
    }

    /// Acquires the lock if it is free and not reserved for another thread.
    #[inline]
    fn attempt_in_turn(&self, caller: Owner, me: Owner, waiting: &Waiting<'_>) -> Result<Attempt<Acquired>> {
        if self.queue().is_reserved(caller, waiting) {
            return Ok(Attempt::Reserved);
        }
        Ok(self.attempt(me)?.map_or(Attempt::Busy, Attempt::Acquired))
    }

    #[inline]
    fn attempt(&self, me: Owner) -> Result<Option<Acquired>> {
        if !self.claim.try_take(Purpose::Attempt) {
            return Ok(None);
        }
        let attempted = self.file().and_then(|mut file| {
            if !self.with_file(&mut file, sys::try_lock)? {
                return Ok(None);
            }
            let begun = recovery::record_owner(&self.slot, me);
            if begun.is_none() {
                self.unlock(&mut file)?;
                self.close_if_replaced(&mut file);
            }
            Ok(begun)
        });
        if matches!(attempted, Ok(Some(_))) {
            self.claim.set(Purpose::Hold);
        } else {
            self.claim.release();
        }
        attempted
    }

    /// Closes the file if it was removed or replaced.
    ///
    /// Other threads lock the file that has the name at this moment.
    #[cold]
    fn close_if_replaced(&self, file: &mut Option<Descriptor>) {
        let is_replaced = |fd: BorrowedFd<'_>| match fs::symlink_metadata(self.path()) {
            Ok(named) => fstat(fd).is_ok_and(|open| (open.st_dev, open.st_ino) != (named.dev(), named.ino())),
            // No name exists after a `chroot`, for example.
            Err(error) => error.kind() == io::ErrorKind::NotFound && !self.slot.table().is_destroyed(),
        };
        file.take_if(|file| file.get().is_some_and(is_replaced));
    }

    /// Releases the kernel's lock.
    ///
    /// If the program has closed the descriptor, the kernel has released the lock already.
    fn unlock(&self, file: &mut Option<Descriptor>) -> Result<()> {
        match file.as_ref().map_or(Ok(()), sys::unlock) {
            Err(errno) if sys::is_closed(errno) => {
                *file = None;
                Ok(())
            }
            done => done.map_err(|errno| self.error(errno)),
        }
    }

    #[cold]
    fn acquire_slowly(&self, caller: Owner, me: Owner, deadline: Deadline, waiting: &Waiting<'_>) -> Result<Acquired> {
        if self.slot.line().owner() == caller {
            return Err(Error::already_held());
        }
        match deadline {
            Deadline::Now => Ok(Acquired::TimedOut),
            Deadline::At(_) => {
                let attempt = || self.attempt_in_turn(caller, me, waiting);
                let acquired = self.retry_until(deadline, || _ = self.queue().enqueue(caller, waiting), attempt)?;
                Ok(acquired.unwrap_or(Acquired::TimedOut))
            }
            Deadline::Never => {
                // The attempt has found the lock held or reserved, so this thread sleeps.
                self.queue().enqueue(caller, waiting);
                self.acquire_blocking(caller, me, waiting)
            }
        }
    }

    /// Acquires the lock with the kernel's blocking call.
    fn acquire_blocking(&self, caller: Owner, me: Owner, waiting: &Waiting<'_>) -> Result<Acquired> {
        let mut pause = wait::FIRST_PAUSE;
        loop {
            if self.queue().is_reserved(caller, waiting) {
                thread::sleep(pause);
                pause = wait::LONGEST_PAUSE.min(pause * 2);
                self.queue().enqueue(caller, waiting);
                continue;
            }
            if !self.claim.try_take(Purpose::Wait) {
                // Another thread of this process holds the lock or blocks for it.
                let attempt = || match self.queue().is_reserved(caller, waiting) {
                    true => Ok(Attempt::Reserved),
                    false if self.claim.try_take(Purpose::Wait) => Ok(Attempt::Acquired(())),
                    false => Ok(Attempt::Busy),
                };
                self.retry_until(Deadline::Never, || _ = self.queue().enqueue(caller, waiting), attempt)?;
            }
            let acquired = self.file().and_then(|mut file| self.block(&mut file, caller, me, waiting)).transpose();
            if let Some(Ok(_)) = acquired {
                self.claim.set(Purpose::Hold);
            } else {
                self.claim.release();
                self.wake_waiters();
            }
            if let Some(acquired) = acquired {
                return acquired;
            }
        }
    }

    /// Returns `None`, without the kernel's lock, if the lock is reserved for another thread.
    fn block(&self, file: &mut Option<Descriptor>, caller: Owner, me: Owner, waiting: &Waiting<'_>) -> Result<Option<Acquired>> {
        let mut pause = wait::FIRST_PAUSE;
        loop {
            self.with_file(file, sys::lock)?;
            // The kernel's lock ends when the last descriptor of the description is closed.
            while file.as_ref().is_some_and(|file| file.get().is_some()) {
                if self.queue().is_reserved(caller, waiting) {
                    self.unlock(file)?;
                    return Ok(None);
                }
                if let Some(acquired) = recovery::record_owner(&self.slot, me) {
                    return Ok(Some(acquired));
                }
                self.close_if_replaced(file);
                thread::sleep(pause);
                pause = LONGEST_OWNER_PAUSE.min(pause * 2);
            }
        }
    }

    #[inline]
    fn queue(&self) -> Queue<'_> {
        // A thread that blocks in the kernel cannot announce anything.
        self.slot.queue(Announcement::AtStart)
    }

    fn path(&self) -> PathBuf {
        self.directory.path_of(self.slot.table().id(), self.slot.id())
    }

    fn retry_until<T>(
        &self,
        deadline: Deadline,
        before_sleep: impl FnMut(),
        mut attempt: impl FnMut() -> Result<Attempt<T>>,
    ) -> Result<Option<T>> {
        wait::until(&self.path(), deadline, before_sleep, || {
            // Stored before the attempt: an owner that makes the attempt fail reads the flag after its release.
            self.has_waiters().store(1, SeqCst);
            attempt()
        })
    }

    /// Returns the flag that a thread may be waiting.
    ///
    /// Its position is the same with every C library, so that programs can share a store.
    fn has_waiters(&self) -> &AtomicU64 {
        &self.slot.line().spare[0]
    }

    #[inline]
    fn wake_waiters(&self) {
        if self.has_waiters().load(SeqCst) != 0 {
            self.wake_waiters_slowly();
        }
    }

    #[cold]
    fn wake_waiters_slowly(&self) {
        self.has_waiters().store(0, SeqCst);
        self.directory.notify_waiters(self.slot.table().id(), self.slot.id());
    }
}

fn is_out_of_descriptors(error: &Error) -> bool {
    matches!(error.details(), ErrorDetails::Limit { error, .. } if error.raw_os_error() == Some(nix::libc::EMFILE))
}

impl RawLock for FileLock {
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Thread, deadline, &self.slot.waiting())
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(OwnerKind::Process, deadline, &self.slot.waiting())
    }

    fn acquire_in_slices(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired> {
        self.slot.wait_in_slices(next, |deadline, waiting| self.acquire_as(owner, deadline, waiting))
    }

    #[inline]
    fn release(&self, proof: Proof) -> Result<()> {
        let me = self.slot.table().current_owner()?.of_kind(proof.owner());
        if self.slot.line().owner() != me {
            return Err(Error::lost());
        }
        let mut file = self.file()?;
        self.slot.clear_owner(me, proof.condition());
        // The kernel's lock is released before the claim: it would not exclude the next claimant, which uses the same
        // description.
        let unlocked = self.unlock(&mut file);
        drop(file);
        self.claim.release();
        self.wake_waiters();
        unlocked
    }

    fn check(&self, owner: OwnerKind, _token: Option<u64>) -> Result<()> {
        let me = self.slot.table().current_owner()?.of_kind(owner);
        if self.slot.line().owner() == me { Ok(()) } else { Err(Error::lost()) }
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.check(owner, token)?;
        self.slot.mark_consistent();
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.slot.holder())
    }

    fn held_by(&self) -> HeldBy {
        self.slot.held_by()
    }

    fn waiters(&self) -> Option<u32> {
        self.slot.waiters()
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.slot.generation())
    }
}

impl IdleFile for FileLock {
    fn close_if_idle(&self) -> bool {
        if !self.claim.try_take_idle() {
            return false;
        }
        if let Ok(mut file) = self.file() {
            *file = None;
        }
        self.claim.release();
        true
    }
}

impl Drop for FileLock {
    /// Keeps the descriptor open when the guard was leaked, because the lock stays held.
    fn drop(&mut self) {
        if self.claim.is_held()
            && let Some(file) = self.file.get()
        {
            std::mem::forget(file.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

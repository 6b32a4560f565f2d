//! An honest backend whose stores have one lock without an id: a locked file, which is never removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;

use lock_core::{
    Acquired, Allocation, Backend, Capabilities, Condition, Deadline, Deadlines, Error, Generation, Label, LockId, Manager,
    Numbering, OpenMode, OwnerDeath, OwnerKind, Proof, RawLock, Recovery, Reentry, Result, StoreId, StoreUrl,
};

use super::lock::FileLock;
use super::options::Access;

/// The backend without reports.
pub(crate) const BACKEND: Backend = Backend::new("single", "lock-conformance", "a lock on a file", open).with(
    Capabilities::minimal()
        .with_numbering(Numbering::Single)
        .with_owner_death(OwnerDeath::Released)
        .with_deadlines(Deadlines::Monotonic)
        .with_reentry(Reentry::Refused),
);

/// The backend that reports a death to the next owner, once.
pub(crate) const REPORTING: Backend = Backend::new("reports-once", "lock-conformance", "a record lock on a file", open)
    .with(BACKEND.capabilities().with_owner_death(OwnerDeath::Reported));

fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    url.options().finish()?;
    let path = url.location();
    if mode != OpenMode::Open {
        match File::options().write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && mode == OpenMode::Create => {
                return Err(Error::exists());
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::system("open", error)),
            _ => {}
        }
    }
    let facts = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::absent(),
        _ => Error::system("stat", error),
    })?;
    // An inode number can be reused. The creation time distinguishes the files.
    let born = facts.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |at| at.as_nanos());
    let id = u128::from(facts.ino()) << 80 | born & ((1 << 80) - 1);
    let owner_death = if url.scheme() == REPORTING.scheme() { OwnerDeath::Reported } else { OwnerDeath::Released };
    Ok(Arc::new(Single { id, lock: FileLock::of(path, id, Access::DEFAULT)?, owner_death }))
}

#[derive(Debug)]
struct Single {
    id: u128,
    lock: Arc<FileLock>,
    owner_death: OwnerDeath,
}

fn check_range(id: LockId) -> Result<()> {
    if id.get() == 0 { Ok(()) } else { Err(Error::out_of_range(1)) }
}

fn always_allocated<T>() -> Result<T> {
    Err(Error::unsupported("the only lock of the store is always allocated"))
}

impl Manager for Single {
    fn id(&self) -> StoreId {
        StoreId::new(self.id)
    }

    fn capacity(&self) -> Option<u64> {
        Some(1)
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        check_range(id)?;
        let lock = Arc::clone(&self.lock);
        Ok(match self.owner_death {
            OwnerDeath::Reported => Arc::new(ReportsOnce(lock)),
            _ => Arc::new(Quiet(lock)),
        })
    }

    fn allocate(&self, _: &Label) -> Result<LockId> {
        Err(Error::exhausted(1, 1))
    }

    fn allocate_exact(&self, id: LockId, _: &Label) -> Result<()> {
        check_range(id)?;
        Err(Error::already_allocated())
    }

    fn free(&self, id: LockId, _: Option<Generation>) -> Result<()> {
        check_range(id)?;
        always_allocated()
    }

    fn free_all(&self) -> Result<u64> {
        always_allocated()
    }

    fn available(&self) -> Result<Option<u64>> {
        Ok(Some(0))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Ok(vec![Allocation::new(LockId::new(0))])
    }
}

/// The lock without reports and tokens, which the backend does not claim.
#[derive(Debug)]
struct Quiet(Arc<FileLock>);

impl RawLock for Quiet {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        Ok(match self.0.acquire(deadline)? {
            Acquired::TimedOut => Acquired::TimedOut,
            _ => Acquired::Held { token: 0 },
        })
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.0.release(proof)
    }
}

/// The lock that reports a death to the next owner only.
#[derive(Debug)]
struct ReportsOnce(Arc<FileLock>);

impl RawLock for ReportsOnce {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        Ok(match self.0.acquire(deadline)? {
            Acquired::Recovered(recovery) => {
                self.0.mark_consistent(OwnerKind::Thread, None)?;
                Acquired::Recovered(Box::new(Recovery { token: 0, ..*recovery }))
            }
            Acquired::Held { .. } => Acquired::Held { token: 0 },
            Acquired::TimedOut => Acquired::TimedOut,
        })
    }

    fn release(&self, _: Proof) -> Result<()> {
        self.0.release_in(OwnerKind::Thread, Condition::Consistent)
    }
}

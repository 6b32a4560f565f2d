//! An honest backend whose stores have one lock, without a number: a file with a lock on it, which nobody removes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use lock_core::{
    Acquired, Allocation, Backend, Capabilities, Deadline, Deadlines, Error, ErrorKind, Generation, Label, LockId, Manager,
    Numbering, OpenMode, OwnerDeath, Proof, RawLock, Reentry, Result, StoreId, StoreUrl,
};

use super::lock::FileLock;

/// The backend.
pub(crate) const BACKEND: Backend = Backend::new("single", "lock-conformance", "a lock on a file", open).with(
    Capabilities::least()
        .numbering(Numbering::Single)
        .owner_death(OwnerDeath::Released)
        .deadlines(Deadlines::Monotonic)
        .reentry(Reentry::Refused),
);

fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    url.options().finish()?;
    let path = Path::new(url.place());
    if mode != OpenMode::Open {
        match File::create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && mode == OpenMode::Create => {
                return Err(ErrorKind::Exists.into());
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::system("open", error)),
            _ => {}
        }
    }
    let facts = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::Absent.into(),
        _ => Error::system("stat", error),
    })?;
    // An inode number may come again; the time of birth does not.
    let born = facts.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |at| at.as_nanos());
    let id = u128::from(facts.ino()) << 80 | born & ((1 << 80) - 1);
    Ok(Arc::new(Single { id, lock: FileLock::of(path, id, 0o600)? }))
}

#[derive(Debug)]
struct Single {
    id: u128,
    lock: Arc<FileLock>,
}

fn no_numbers<T>() -> Result<T> {
    Err(Error::unsupported("its lock has no number"))
}

impl Manager for Single {
    fn id(&self) -> StoreId {
        StoreId::new(self.id)
    }

    fn capacity(&self) -> Option<u64> {
        Some(1)
    }

    fn lock(&self, _: LockId) -> Result<Arc<dyn RawLock>> {
        no_numbers()
    }

    fn single(&self) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Quiet(Arc::clone(&self.lock))))
    }

    fn allocate(&self, _: &Label) -> Result<LockId> {
        no_numbers()
    }

    fn allocate_exact(&self, _: LockId, _: &Label) -> Result<()> {
        no_numbers()
    }

    fn free(&self, _: LockId, _: Option<Generation>) -> Result<()> {
        no_numbers()
    }

    fn free_all(&self) -> Result<u64> {
        no_numbers()
    }

    fn available(&self) -> Result<Option<u64>> {
        no_numbers()
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        no_numbers()
    }
}

/// The lock without the news that it does not claim.
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

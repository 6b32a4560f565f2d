//! Third-party backends: one lock in one file, by flock(2), with different claims. Two of the claims are false.

use std::fs::{self, File};
use std::io::ErrorKind::{AlreadyExists, NotFound};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lock_core::{
    Acquired, Allocation, Backend, Breaking, Capabilities, Deadline, Error, Generation, Label, LockId, Manager, Numbering,
    OpenMode, OwnerDeath, Proof, RawLock, Result, Sharing, StoreId, StoreUrl,
};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

const fn backend(scheme: &'static str, claims: Capabilities) -> Backend {
    Backend::new(scheme, "third-party", "a test", open).with(claims)
}

const LEAST: Capabilities = Capabilities::minimal();

lock_core::register!(backend("single", LEAST.with_numbering(Numbering::Single).with_owner_death(OwnerDeath::Released)));
lock_core::register!(backend("stuck", LEAST.with_owner_death(OwnerDeath::Stuck).with_breaking(Breaking::Explicit)));
lock_core::register!(backend("in-threads", LEAST.with_sharing(Sharing::Threads)));
lock_core::register!(backend("no-paths", LEAST));
// Backends with false claims.
lock_core::register!(backend("excludes-nobody", LEAST.with_owner_death(OwnerDeath::Released)));
lock_core::register!(backend("forgets-deaths", LEAST.with_owner_death(OwnerDeath::Reported)));

fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    url.options().finish()?;
    if url.scheme() == "no-paths" {
        return Err(url.error("it takes no path"));
    }
    let path = url.location().to_owned();
    let mut options = File::options();
    options.read(true).write(true).create(mode == OpenMode::OpenOrCreate).create_new(mode == OpenMode::Create);
    options.open(&path).map_err(|error| match error.kind() {
        NotFound => Error::absent(),
        AlreadyExists => Error::exists(),
        _ => Error::system("open", error),
    })?;
    Ok(Arc::new(OneFile { path, excludes: url.scheme() != "excludes-nobody" }))
}

#[derive(Debug)]
struct OneFile {
    path: PathBuf,
    excludes: bool,
}

impl Manager for OneFile {
    fn id(&self) -> StoreId {
        StoreId::new(1)
    }

    fn capacity(&self) -> Option<u64> {
        Some(1)
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        if id.get() > 0 {
            return Err(Error::out_of_range(1));
        }
        Ok(Arc::new(FileLock { path: self.path.clone(), excludes: self.excludes, held: Mutex::new(None) }))
    }

    fn allocate(&self, _label: &Label) -> Result<LockId> {
        Ok(LockId::new(0))
    }

    fn allocate_exact(&self, _id: LockId, _label: &Label) -> Result<()> {
        Ok(())
    }

    fn free(&self, _id: LockId, _generation: Option<Generation>) -> Result<()> {
        Ok(())
    }

    fn free_all(&self) -> Result<u64> {
        Ok(0)
    }

    fn available(&self) -> Result<Option<u64>> {
        Ok(Some(1))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Ok(Vec::new())
    }

    fn break_lock(&self, _id: LockId) -> Result<()> {
        Ok(())
    }

    fn destroy(&self) -> Result<()> {
        fs::remove_file(&self.path).map_err(|error| Error::system("unlink", error))
    }
}

#[derive(Debug)]
struct FileLock {
    path: PathBuf,
    excludes: bool,
    held: Mutex<Option<Flock<File>>>,
}

impl RawLock for FileLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let how = match deadline {
            Deadline::Now => FlockArg::LockExclusiveNonblock,
            Deadline::Never => FlockArg::LockExclusive,
            Deadline::At(_) => return Err(Error::unsupported("flock(2) has no deadline")),
        };
        if self.excludes {
            let file = File::open(&self.path).map_err(|error| Error::system("open", error))?;
            let lock = match Flock::lock(file, how) {
                Err((_, Errno::EWOULDBLOCK)) => return Ok(Acquired::TimedOut),
                lock => lock.map_err(|(_, error)| Error::system("flock", error))?,
            };
            *self.held.lock().unwrap() = Some(lock);
        }
        Ok(Acquired::Held { token: 0 })
    }

    fn release(&self, _proof: Proof) -> Result<()> {
        drop(self.held.lock().unwrap().take());
        Ok(())
    }
}

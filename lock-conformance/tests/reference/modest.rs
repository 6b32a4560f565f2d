//! An honest backend that claims the least, and refuses the rest.
//!
//! A lock is a file that its owner creates exclusively. The file remains when the owner dies.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Allocation, Backend, Breaking, Capabilities, Deadline, Error, Generation, GuardChecks, Label, LockId, Manager,
    OpenMode, OwnerKind, Proof, RawLock, Removal, Result, StoreId, StoreUrl,
};

/// The capabilities of the modest backend.
pub(crate) const CLAIMS: Capabilities = Capabilities::minimal()
    .with_breaking(Breaking::Explicit)
    .with_guard_checks(GuardChecks::Supported)
    .with_removal(Removal::Supported);

/// The modest backend.
pub(crate) const BACKEND: Backend = Backend::new("modest", "lock-conformance", "exclusively created files", open).with(CLAIMS);

/// Opens a store.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    url.options().finish()?;
    let plain: StoreUrl = format!("reference:{}", url.location().display()).parse()?;
    Ok(Arc::new(Modest { ids: super::open(&plain, mode)?, path: url.location().into() }))
}

#[derive(Debug)]
struct Modest {
    ids: Arc<dyn Manager>,
    path: PathBuf,
}

fn without_label(label: &Label) -> Result<&Label> {
    if label.is_empty() { Ok(label) } else { Err(Error::unsupported("the backend does not store labels")) }
}

impl Manager for Modest {
    fn id(&self) -> StoreId {
        self.ids.id()
    }

    fn capacity(&self) -> Option<u64> {
        self.ids.capacity()
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        self.ids.lock(id)?;
        // The file is next to the store, so that handles still work after the store is destroyed.
        Ok(Arc::new(Exclusive { file: file_of(&self.path, self.ids.id(), id), owner: AtomicU32::new(0) }))
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        self.ids.allocate(without_label(label)?)
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.ids.allocate_exact(id, without_label(label)?)
    }

    fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()> {
        self.ids.free(id, generation)
    }

    fn free_all(&self) -> Result<u64> {
        self.ids.free_all()
    }

    fn available(&self) -> Result<Option<u64>> {
        self.ids.available()
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Ok(self.ids.allocated()?.into_iter().map(|allocation| Allocation::new(allocation.id)).collect())
    }

    fn break_lock(&self, id: LockId) -> Result<()> {
        self.ids.lock(id)?;
        remove(&file_of(&self.path, self.ids.id(), id)).map(drop)
    }

    fn destroy(&self) -> Result<()> {
        self.ids.destroy()
    }
}

/// Returns the path of the file that the owner of a lock creates.
pub(crate) fn file_of(path: &Path, store: StoreId, id: LockId) -> PathBuf {
    path.with_file_name(format!("lock-{store}-{id}"))
}

fn remove(file: &Path) -> Result<bool> {
    match fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::system("unlink", error)),
    }
}

#[derive(Debug)]
struct Exclusive {
    file: PathBuf,
    /// The process that holds the lock through this handle, or 0.
    owner: AtomicU32,
}

impl RawLock for Exclusive {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        loop {
            match File::options().write(true).create_new(true).mode(0o600).open(&self.file) {
                Ok(mut file) => {
                    // The file contains the owner's pid. An owner can thus detect that its lock was broken and acquired again.
                    if let Err(error) = file.write_all(process::id().to_string().as_bytes()) {
                        remove(&self.file)?;
                        return Err(Error::system("write", error));
                    }
                    self.owner.store(process::id(), Ordering::Relaxed);
                    return Ok(Acquired::Held { token: 0 });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::system("open", error)),
            }
            match deadline {
                Deadline::Now => return Ok(Acquired::TimedOut),
                Deadline::At(_) => return Err(Error::unsupported("the backend does not support deadlines")),
                Deadline::Never => thread::sleep(Duration::from_micros(300)),
            }
        }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let checked = self.check(proof.owner(), None);
        self.owner.store(0, Ordering::Relaxed);
        checked?;
        if remove(&self.file)? { Ok(()) } else { Err(Error::lost()) }
    }

    fn check(&self, _: OwnerKind, _: Option<u64>) -> Result<()> {
        let is_recorded = || fs::read_to_string(&self.file).is_ok_and(|owner| owner == process::id().to_string());
        if self.owner.load(Ordering::Relaxed) == process::id() && is_recorded() { Ok(()) } else { Err(Error::lost()) }
    }
}

use std::path::PathBuf;
use std::sync::Arc;

use lock_core::{Allocation, Error, Generation, Label, LockId, Manager, OpenMode, RawLock, Result, StoreId, StoreUrl, Waits};
use lock_table::filesystem::{self, Accept};
use nix::fcntl::OFlag;

use super::inspect;
use super::lock::LxcLock;
use super::path::{self, LockPath};

/// Opens or creates the store of a URL `lxc:LXCPATH?name=NAME`.
///
/// The option `rundir=DIRECTORY` names LXC's run directory where it differs from LXC's rule, as for a container's own LXC. The
/// option `filesystem=any` accepts a file system that other machines may share. A relative LXCPATH with a slash is resolved against the
/// current directory; LXC's tools do not resolve it, so that only an absolute path leads to the lock of `lxc-start -P`.
///
/// The store is the lock's file. Every acquisition creates it if it is absent, in LXC's tools as well, and no program removes it.
/// It exists until the run directory is cleaned, for example by a restart of the machine.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let (name, rundir) = (options.take::<String>("name")?, options.take::<PathBuf>("rundir")?);
    let accept: Accept = options.take("filesystem")?.unwrap_or_default();
    options.finish()?;
    let Some(name) = name else { return Err(url.error("it names no container; write lxc:/var/lib/lxc?name=NAME")) };
    if url.location().as_os_str().is_empty() {
        return Err(url.error("it has no path; write lxc:/var/lib/lxc?name=NAME"));
    }
    let rundir = rundir.map_or_else(path::rundir, Ok)?;
    let path = LockPath::new(&rundir, url.location(), &name)?;
    let (id, file) = (path.identity(), path.file().to_owned());
    let lock = LxcLock::new(path.clone());
    let creation = match mode {
        OpenMode::Open => OFlag::empty(),
        OpenMode::Create => OFlag::O_CREAT | OFlag::O_EXCL,
        OpenMode::OpenOrCreate => OFlag::O_CREAT,
    };
    if mode != OpenMode::Open {
        path.create_directories()?;
        filesystem::check_path(path.directory(), accept)?;
    }
    filesystem::check(lock.open(creation)?, &file, accept)?;
    Ok(Arc::new(Container { id, file, lock: Arc::new(lock) }))
}

/// A store with one lock, that of a container.
#[derive(Debug)]
struct Container {
    id: StoreId,
    file: PathBuf,
    lock: Arc<LxcLock>,
}

/// The number of locks.
const CAPACITY: u64 = 1;

fn check_range(id: LockId) -> Result<()> {
    if u64::from(id.get()) < CAPACITY { Ok(()) } else { Err(Error::out_of_range(CAPACITY)) }
}

fn always_allocated() -> Error {
    Error::unsupported("the only lock of a container is always allocated")
}

impl Manager for Container {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capacity(&self) -> Option<u64> {
        Some(CAPACITY)
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        check_range(id)?;
        Ok(self.lock.clone())
    }

    fn allocate(&self, _label: &Label) -> Result<LockId> {
        Err(Error::exhausted(CAPACITY, CAPACITY))
    }

    fn allocate_exact(&self, id: LockId, _label: &Label) -> Result<()> {
        check_range(id)?;
        Err(Error::already_allocated())
    }

    fn free(&self, id: LockId, _generation: Option<Generation>) -> Result<()> {
        check_range(id)?;
        Err(always_allocated())
    }

    fn free_all(&self) -> Result<u64> {
        Err(always_allocated())
    }

    fn available(&self) -> Result<Option<u64>> {
        Ok(Some(0))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Ok(vec![Allocation::new(LockId::new(0))])
    }

    fn waiting(&self) -> Result<Waits> {
        inspect::waiting(&self.file)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![("file", self.file.display().to_string())]
    }

    fn destroy(&self) -> Result<()> {
        let file = self.file.display();
        Err(Error::unsupported(format!("LXC never removes {file}, because a tool may be waiting for it; leave it there")))
    }
}

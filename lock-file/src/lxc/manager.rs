use std::path::{Path, PathBuf};
use std::sync::Arc;

use lock_core::{Allocation, Error, Generation, Label, LockId, Manager, OpenMode, RawLock, Result, StoreId, StoreUrl};
use lock_table::filesystem::{self, Accept};
use nix::fcntl::OFlag;

use super::lock::LxcLock;
use super::path::{self, LockPath};

/// Opens `lxc:LXCPATH?name=NAME`, and `&rundir=DIRECTORY` where that is not what LXC's rule says here (in a container, or for one).
/// The option `filesystem=any` accepts a file system that other machines take part in.
///
/// The store is the lock's file. Whoever locks makes it, LXC's tools too, and nobody ever removes it: so it exists from the first
/// time on that somebody locked, opened or created it, until the run directory is cleaned, as by a restart.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let (name, rundir) = (options.take::<String>("name")?, options.take::<PathBuf>("rundir")?);
    let accept: Accept = options.take("filesystem")?.unwrap_or_default();
    options.finish()?;
    let Some(name) = name else { return Err(url.error("which container? write lxc:/var/lib/lxc?name=NAME")) };
    if url.place().is_empty() {
        return Err(url.error("it has no path; write lxc:/var/lib/lxc?name=NAME"));
    }
    let rundir = rundir.map_or_else(path::rundir, Ok)?;
    let path = LockPath::new(&rundir, Path::new(url.place()), &name)?;
    let (id, file) = (path.identity(), path.file().to_owned());
    let lock = LxcLock::new(path.clone());
    let extra = match mode {
        OpenMode::Open => OFlag::empty(),
        OpenMode::Create => OFlag::O_CREAT | OFlag::O_EXCL,
        OpenMode::OpenOrCreate => OFlag::O_CREAT,
    };
    if mode != OpenMode::Open {
        path.make_directories()?;
        filesystem::check_path(path.directory(), accept)?;
    }
    filesystem::check(lock.open(extra)?, &file, accept)?;
    Ok(Arc::new(Container { id, file, lock: Arc::new(lock) }))
}

/// A store with one lock: that of a container.
#[derive(Debug)]
struct Container {
    id: StoreId,
    file: PathBuf,
    lock: Arc<LxcLock>,
}

fn one_lock() -> Error {
    Error::unsupported("a container has one lock, without a number; there is nothing to allocate, free or list")
}

impl Manager for Container {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capacity(&self) -> Option<u64> {
        Some(1)
    }

    fn lock(&self, _id: LockId) -> Result<Arc<dyn RawLock>> {
        Err(one_lock())
    }

    fn single(&self) -> Result<Arc<dyn RawLock>> {
        Ok(self.lock.clone())
    }

    fn allocate(&self, _label: &Label) -> Result<LockId> {
        Err(one_lock())
    }

    fn allocate_exact(&self, _id: LockId, _label: &Label) -> Result<()> {
        Err(one_lock())
    }

    fn free(&self, _id: LockId, _generation: Option<Generation>) -> Result<()> {
        Err(one_lock())
    }

    fn free_all(&self) -> Result<u64> {
        Err(one_lock())
    }

    fn available(&self) -> Result<Option<u64>> {
        Err(one_lock())
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Err(one_lock())
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![("file", self.file.display().to_string())]
    }

    fn destroy(&self) -> Result<()> {
        let file = self.file.display();
        Err(Error::unsupported(format!("LXC never removes {file}: a tool that waits for it would not exclude the next one")))
    }
}

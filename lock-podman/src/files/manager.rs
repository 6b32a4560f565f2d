use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lock_core::{
    Allocation, Error, Generation, HeldLock, Label, LockId, Manager, OpenMode, RawLock, Result, StoreId, StoreUrl, Waits,
};

use super::lock::FileLock;
use super::{inspect, read_only};
use crate::segment;

/// The directory of the files, below podman's directory for temporary files.
const LOCKS: &str = "locks";

/// Opens the store of a URL `podman-file:/DIRECTORY`.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    url.options().finish()?;
    if url.location().as_os_str().is_empty() || url.location().is_relative() {
        return Err(url.error("it has no directory; write podman-file:/run/libpod"));
    }
    if mode == OpenMode::Create {
        return Err(read_only());
    }
    let directory = url.location().join(LOCKS);
    let id = identity(&directory)?;
    Ok(Arc::new(LockFiles { directory, id }))
}

/// Returns the identity of the directory.
fn identity(directory: &Path) -> Result<StoreId> {
    match fs::metadata(directory) {
        Ok(meta) if meta.is_dir() => Ok(segment::identity(&meta)),
        Ok(_) => Err(Error::not_a_store(format!("{} is not a directory", directory.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::absent().at(directory)),
        Err(error) => Err(Error::system("stat", error).at(directory)),
    }
}

/// A directory with a file for each allocated id.
#[derive(Debug)]
struct LockFiles {
    directory: PathBuf,
    id: StoreId,
}

impl Manager for LockFiles {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capacity(&self) -> Option<u64> {
        None
    }

    fn check(&self) -> Result<()> {
        match identity(&self.directory) {
            Ok(id) if id == self.id => Ok(()),
            Ok(_) => Err(Error::replaced()),
            Err(error) if error.is_absent() => Err(Error::destroyed()),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(FileLock::new(inspect::file_of(&self.directory, id))))
    }

    fn allocate(&self, _label: &Label) -> Result<LockId> {
        Err(read_only())
    }

    fn allocate_exact(&self, _id: LockId, _label: &Label) -> Result<()> {
        Err(read_only())
    }

    fn free(&self, _id: LockId, _generation: Option<Generation>) -> Result<()> {
        Err(read_only())
    }

    fn free_all(&self) -> Result<u64> {
        Err(read_only())
    }

    fn available(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Ok(inspect::ids(&self.directory)?.into_iter().map(Allocation::new).collect())
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        inspect::held(&self.directory)
    }

    fn waiting(&self) -> Result<Waits> {
        inspect::waiting(&self.directory)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![("directory", self.directory.display().to_string())]
    }
}

//! Allocation of ids: an allocated id is a directory.

use std::fs;
use std::io::ErrorKind::{AlreadyExists, NotFound};
use std::sync::Arc;

use lock_core::{Allocation, Error, ErrorKind, Generation, Label, LockId, Manager, RawLock, Result, StoreId};

use crate::dir::{Dir, mkdir};
use crate::lock::DirLock;

/// Number of locks in a store.
const CAPACITY: u32 = 1024;

impl Manager for Dir {
    fn id(&self) -> StoreId {
        Dir::id(self)
    }

    fn capacity(&self) -> Option<u64> {
        Some(CAPACITY.into())
    }

    fn check(&self) -> Result<()> {
        Dir::check(self)
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        in_range(id)?;
        Dir::check(self)?;
        Ok(Arc::new(DirLock::new(Dir::lock(self, id), self.drafts())))
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        for id in (0..CAPACITY).map(LockId::new) {
            match self.allocate_exact(id, label) {
                Err(error) if error.kind() == ErrorKind::AlreadyAllocated => {}
                result => return result.map(|()| id),
            }
        }
        Err(Error::exhausted(CAPACITY.into(), CAPACITY.into()))
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        in_range(id)?;
        if !label.as_str().is_empty() {
            return Err(Error::unsupported("it stores no labels"));
        }
        Dir::check(self)?;
        let path = self.allocation(id);
        // Of two concurrent processes, one makes the directory. The path is not checked, because a third one may free the id meanwhile.
        let exists = |error: &Error| error.io_error().is_some_and(|error| error.kind() == AlreadyExists);
        mkdir(&path).map_err(|error| if exists(&error) { Error::already_allocated() } else { error })
    }

    fn free(&self, id: LockId, _generation: Option<Generation>) -> Result<()> {
        in_range(id)?;
        Dir::check(self)?;
        fs::remove_dir(self.allocation(id)).map_err(|error| match error.kind() {
            NotFound => Error::not_allocated(),
            _ => Error::system("rmdir", error),
        })
    }

    fn free_all(&self) -> Result<u64> {
        let mut count = 0;
        for allocation in self.allocated()? {
            match self.free(allocation.id, None) {
                Ok(()) => count += 1,
                Err(error) if error.kind() == ErrorKind::NotAllocated => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    fn available(&self) -> Result<Option<u64>> {
        Ok(Some(u64::from(CAPACITY) - self.allocated()?.len() as u64))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Dir::check(self)?;
        let entries = fs::read_dir(self.allocations()).map_err(|error| Error::system("readdir", error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        // Skips entries of other programs.
        let mut ids: Vec<LockId> = names.filter_map(|name| name.parse().ok()).filter(|id| in_range(*id).is_ok()).collect();
        ids.sort_unstable();
        Ok(ids.into_iter().map(Allocation::new).collect())
    }

    fn break_lock(&self, id: LockId) -> Result<()> {
        in_range(id)?;
        Dir::check(self)?;
        DirLock::new(Dir::lock(self, id), self.drafts()).clear()
    }
}

fn in_range(id: LockId) -> Result<()> {
    if id.get() < CAPACITY { Ok(()) } else { Err(Error::out_of_range(CAPACITY.into())) }
}

//! A lock: a directory that is empty or absent while the lock is free, and has one entry, named by its owner, while it is held.

use std::fs;
use std::io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory, NotFound};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Error, PerProcess, Proof, RawLock, Result};

use crate::dir::{mkdir, unique};

/// Time between two attempts of a waiter.
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct DirLock {
    path: PathBuf,
    drafts: PathBuf,
    /// The entry of the owner that uses this handle. A forked child begins without a value.
    entry: PerProcess<Mutex<Option<PathBuf>>>,
}

impl DirLock {
    pub(crate) fn new(path: PathBuf, drafts: PathBuf) -> Self {
        Self { path, drafts, entry: PerProcess::new() }
    }

    /// Moves the draft, a directory with one entry, to the place of the lock. The kernel replaces an empty directory, and refuses to
    /// replace one that has an entry, so of several threads one succeeds.
    fn attempt(&self, draft: &Path) -> Result<bool> {
        match fs::rename(draft, &self.path) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), AlreadyExists | DirectoryNotEmpty) => Ok(false),
            Err(error) if error.kind() == NotADirectory => {
                Err(Error::untrusted(format!("{} is a symbolic link or a file", self.path.display())))
            }
            Err(error) => Err(Error::system("rename", error).at(&self.path)),
        }
    }

    fn wait(&self, draft: &Path, deadline: Deadline) -> Result<bool> {
        while !self.attempt(draft)? {
            if deadline.has_passed() {
                return Ok(false);
            }
            thread::sleep(deadline.remaining().map_or(PAUSE, |left| left.min(PAUSE)));
        }
        Ok(true)
    }

    fn set_entry(&self, entry: Option<PathBuf>) -> Result<Option<PathBuf>> {
        let own = self.entry.get_or_try_init(|| Ok(Mutex::default()))?;
        Ok(std::mem::replace(&mut *own.lock().unwrap_or_else(PoisonError::into_inner), entry))
    }

    /// Frees the lock if it is held. Of several processes that break it, one removes the entry.
    pub(crate) fn clear(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == NotFound => return Err(Error::not_held()),
            entries => entries.map_err(|error| Error::system("readdir", error).at(&self.path))?,
        };
        for entry in entries.flatten() {
            if remove(&entry.path())? {
                return Ok(());
            }
        }
        Err(Error::not_held())
    }
}

impl RawLock for DirLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let owner = unique()?;
        let draft = self.drafts.join(&owner);
        let made = mkdir(&draft).and_then(|()| mkdir(&draft.join(&owner)));
        let acquired = made.and_then(|()| self.wait(&draft, deadline));
        if !matches!(acquired, Ok(true)) {
            // A killed waiter leaves its draft, too. It is never used.
            let _ = fs::remove_dir_all(&draft);
        }
        if !acquired? {
            return Ok(Acquired::TimedOut);
        }
        self.set_entry(Some(self.path.join(owner)))?;
        Ok(Acquired::Held { token: 0 })
    }

    fn release(&self, _proof: Proof) -> Result<()> {
        match self.set_entry(None)? {
            Some(entry) if remove(&entry)? => Ok(()),
            // The lock was broken. Another thread may hold it now.
            _ => Err(Error::lost()),
        }
    }
}

/// Removes the entry of an owner. Returns false if another process has removed it.
fn remove(entry: &Path) -> Result<bool> {
    match fs::remove_dir(entry) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == NotFound => Ok(false),
        Err(error) => Err(Error::system("rmdir", error).at(entry)),
    }
}

//! The file of an open table. The program may close its descriptors.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat};

use crate::descriptor::{Descriptor, KeptDescription};
use crate::file_id::FileId;
use crate::fork;
use lock_core::PerProcess;
use lock_core::{Error, Result};

/// The descriptors for reading the status of the file and for extending it.
///
/// Mappings keep the first open file description alive after the table is closed, so no file lock may use that description.
#[derive(Debug)]
pub(crate) struct TableFile {
    path: PathBuf,
    id: FileId,
    pub(crate) first: Descriptor,
    /// A second descriptor, which is opened when the program has closed the first one.
    again: PerProcess<Mutex<Option<Arc<Descriptor>>>>,
}

/// A descriptor that was verified to be one of the table's file.
pub(crate) enum Verified<'a> {
    First(BorrowedFd<'a>),
    Again(Arc<Descriptor>),
}

impl AsFd for Verified<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::First(fd) => *fd,
            Self::Again(descriptor) => descriptor.unverified().expect("this process opened the descriptor"),
        }
    }
}

impl TableFile {
    /// Keeps an open file with this identity.
    pub(crate) fn new(path: PathBuf, file: File, id: FileId) -> Result<Self> {
        let first = Descriptor::shared_with(file, id)?.marked()?;
        Ok(Self { path, id, first, again: PerProcess::new() })
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Returns a descriptor of the file, which is opened again if the program has closed it.
    ///
    /// # Errors
    /// [`ErrorKind::System`](lock_core::ErrorKind::System) or [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) when the file
    /// cannot be opened again; [`ErrorKind::Replaced`](lock_core::ErrorKind::Replaced) when its name leads to another file.
    pub(crate) fn get(&self) -> Result<Verified<'_>> {
        if let Some(fd) = self.first.get() {
            return Ok(Verified::First(fd));
        }
        let again = self.again.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut again = again.lock().unwrap_or_else(PoisonError::into_inner);
        match &*again {
            Some(descriptor) if descriptor.get().is_some() => Ok(Verified::Again(Arc::clone(descriptor))),
            _ => {
                let descriptor = Arc::new(fork::retry_across_forks(|| Descriptor::new(self.open_by_path()?)?.marked())?);
                *again = Some(Arc::clone(&descriptor));
                Ok(Verified::Again(descriptor))
            }
        }
    }

    pub(crate) fn stat(&self) -> Result<FileStat> {
        fstat(self.get()?).map_err(|errno| Error::system("fstat", errno))
    }

    /// Opens the file again, with a new open file description.
    ///
    /// # Errors
    /// [`ErrorKind::System`](lock_core::ErrorKind::System) when this process may not open the file; otherwise as
    /// [`TableFile::get`].
    pub(crate) fn reopen(&self) -> Result<KeptDescription> {
        KeptDescription::of_file(self.id, || self.open_again())
    }

    fn open_again(&self) -> Result<OwnedFd> {
        let link = format!("/proc/self/fd/{}", self.get()?.as_fd().as_raw_fd());
        match open(link.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
            // The program may have reused the number for another file in between.
            Ok(fd) if FileId::of(&fd) == Ok(self.id) => Ok(fd),
            Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::EACCES | Errno::EPERM)) => {
                Err(Error::system("open again", errno).at(&self.path))
            }
            // `/proc` is not mounted, or the link leads to another file.
            _ => self.open_by_path(),
        }
    }

    fn open_by_path(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        match open(&self.path, flags, Mode::empty()) {
            Ok(fd) if FileId::of(&fd) == Ok(self.id) => Ok(fd),
            Ok(_) => Err(Error::replaced()),
            Err(errno) => Err(Error::system("open again", errno).at(&self.path)),
        }
    }
}

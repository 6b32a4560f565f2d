//! The file of an open table, through descriptors that the program may close.

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
use lock_core::{Error, ErrorKind, Result};

/// For looking and growing. What is mapped keeps the first description alive, so that no lock may be on it.
#[derive(Debug)]
pub(crate) struct TableFile {
    path: PathBuf,
    id: FileId,
    pub(crate) first: Descriptor,
    /// What a process uses whose program closed the first.
    again: PerProcess<Mutex<Option<Arc<Descriptor>>>>,
}

/// A descriptor of the table's file that was found to be that.
pub(crate) enum Verified<'a> {
    First(BorrowedFd<'a>),
    Again(Arc<Descriptor>),
}

impl AsFd for Verified<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::First(fd) => *fd,
            Self::Again(descriptor) => descriptor.unverified().expect("it was opened in this process"),
        }
    }
}

impl TableFile {
    pub(crate) fn new(path: PathBuf, file: File) -> Result<Self> {
        let id = FileId::of(&file).map_err(|errno| Error::system("fstat", errno))?;
        let first = Descriptor::shared(file)?.marked()?;
        Ok(Self { path, id, first, again: PerProcess::new() })
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// A descriptor of the file, opened again if the program closed it.
    ///
    /// # Errors
    /// Where the file cannot be opened any more.
    pub(crate) fn get(&self) -> Result<Verified<'_>> {
        if let Some(fd) = self.first.get() {
            return Ok(Verified::First(fd));
        }
        let again = self.again.get_or_try_init(|| Ok(Mutex::default()))?;
        let mut again = again.lock().unwrap_or_else(PoisonError::into_inner);
        match &*again {
            Some(descriptor) if descriptor.get().is_some() => Ok(Verified::Again(Arc::clone(descriptor))),
            _ => {
                let descriptor = Arc::new(fork::undisturbed(|| Descriptor::new(self.open_by_path()?)?.marked())?);
                *again = Some(Arc::clone(&descriptor));
                Ok(Verified::Again(descriptor))
            }
        }
    }

    pub(crate) fn stat(&self) -> Result<FileStat> {
        fstat(self.get()?).map_err(|errno| Error::system("fstat", errno))
    }

    /// The same file once more, with an open file description of its own.
    ///
    /// # Errors
    /// Where this process may not open the file any more.
    pub(crate) fn reopen(&self) -> Result<KeptDescription> {
        KeptDescription::new(|| self.open_again())
    }

    fn open_again(&self) -> Result<OwnedFd> {
        let itself = format!("/proc/self/fd/{}", self.get()?.as_fd().as_raw_fd());
        match open(itself.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
            // The number may have changed its meaning in between.
            Ok(fd) if FileId::of(&fd) == Ok(self.id) => Ok(fd),
            Err(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::EACCES | Errno::EPERM)) => {
                Err(Error::refused("open again", errno).at(&self.path))
            }
            // No `/proc`.
            _ => self.open_by_path(),
        }
    }

    fn open_by_path(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        match open(&self.path, flags, Mode::empty()) {
            Ok(fd) if FileId::of(&fd) == Ok(self.id) => Ok(fd),
            Ok(_) => Err(ErrorKind::Replaced.into()),
            Err(errno) => Err(Error::refused("open again", errno).at(&self.path)),
        }
    }
}

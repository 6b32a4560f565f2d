//! The liveness lock of a process: an open-file-description lock (fcntl(2)) on the byte of its entry.
//!
//! The bytes of the entries are beyond all mapped bytes. The kernel releases the lock when the process exits or executes another
//! program. The lock belongs to an open file description that only a mapping keeps open. The program cannot close that description,
//! and forked children do not inherit it.
//!
//! On overlayfs such a mapping refers to the file below, and the lock ends when the descriptor is closed. There the descriptor stays open.
//! A process that may not open the store again, for example after it dropped privileges, has no liveness lock. Its death is proven by
//! other evidence.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::descriptor::{Descriptor, KeptDescription};
use crate::layout::LIVENESS_OFFSET;
use crate::table_file::{TableFile, Verified};
use lock_core::{Error, ErrorDetails, Result};

/// The object that holds a liveness lock. The values are stored in the process table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeldBy {
    /// A mapping. If the lock is not held, the process is dead or has executed another program.
    Mapping = 1,
    /// A descriptor, which the program may close.
    Descriptor = 2,
    /// Nothing: the process has no liveness lock.
    Nothing = 3,
}

impl HeldBy {
    pub(crate) fn from_word(word: u64) -> Self {
        match word {
            1 => Self::Mapping,
            2 => Self::Descriptor,
            _ => Self::Nothing,
        }
    }
}

/// The liveness lock of this process in one store.
#[derive(Debug)]
pub(crate) struct Liveness {
    /// `None` if the process may not open the store again.
    description: Option<KeptDescription>,
}

impl Liveness {
    /// Opens the file for a liveness lock, and does not lock it yet.
    ///
    /// If the process may not open the file, the result has no lock when `has_other_proof` is true, and is an error otherwise.
    pub(crate) fn open(file: &TableFile, has_other_proof: bool) -> Result<Self> {
        match file.reopen() {
            Ok(description) => Ok(Self { description: Some(description) }),
            Err(error) if has_other_proof && is_denied(&error) => Ok(Self { description: None }),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn held_by(&self) -> HeldBy {
        match &self.description {
            Some(description) if description.has_mapping() => HeldBy::Mapping,
            Some(_) => HeldBy::Descriptor,
            None => HeldBy::Nothing,
        }
    }

    /// Locks an entry. Returns false if another process holds the lock.
    pub(crate) fn try_lock(&self, entry: usize) -> Result<bool> {
        self.set(entry, libc::F_WRLCK)
    }

    pub(crate) fn unlock(&self, entry: usize) -> Result<()> {
        self.set(entry, libc::F_UNLCK).map(drop)
    }

    fn set(&self, entry: usize, kind: libc::c_int) -> Result<bool> {
        let descriptor = self.description.as_ref().and_then(KeptDescription::descriptor);
        descriptor.map_or(Ok(true), |descriptor| lock_byte(descriptor, entry, kind))
    }

    /// Describes the program that holds another file lock than a liveness lock on the byte of an entry.
    pub(crate) fn foreign_lock(&self, entry: usize) -> Option<String> {
        let descriptor = self.description.as_ref().and_then(KeptDescription::descriptor)?;
        let found = conflict(descriptor, entry)?;
        let is_liveness_lock = (found.l_start, found.l_len) == (LIVENESS_OFFSET + entry as i64, 1);
        let is_foreign = i32::from(found.l_type) != libc::F_UNLCK && !is_liveness_lock;
        is_foreign.then(|| program(found.l_pid))
    }

    /// Closes the descriptor if a mapping holds the lock. The program can then no longer close it.
    pub(crate) fn close(&mut self) {
        if let Some(description) = &mut self.description {
            description.close();
        }
    }
}

/// Returns true if this process may not open the store again.
fn is_denied(error: &Error) -> bool {
    let ErrorDetails::System { error, .. } = error.details() else { return false };
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::ENOENT | libc::EROFS))
}

fn lock_byte(descriptor: &Descriptor, entry: usize, kind: libc::c_int) -> Result<bool> {
    let range = descriptor.range(kind, LIVENESS_OFFSET + entry as i64, 1);
    let Some(fd) = descriptor.unverified() else { return Ok(false) };
    match fcntl(fd, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(Error::system("fcntl F_OFD_SETLK", errno)),
    }
}

impl TableFile {
    /// Returns true if a process holds the liveness lock of an entry, or `None` if the query fails.
    pub(crate) fn is_locked(&self, entry: usize) -> Option<bool> {
        // The call fails if the program has reused the number for another file.
        is_locked(&self.first, entry).or_else(|| match self.get().ok()? {
            Verified::First(_) => is_locked(&self.first, entry),
            Verified::Again(descriptor) => is_locked(&descriptor, entry),
        })
    }
}

/// Returns true if another description holds the lock of an entry, or `None` if the query fails.
fn is_locked(descriptor: &Descriptor, entry: usize) -> Option<bool> {
    let query = conflict(descriptor, entry)?;
    Some(query.l_type != libc::F_UNLCK as libc::c_short)
}

/// Returns the lock of another description that conflicts with the lock of an entry.
///
/// It has the type `F_UNLCK` if there is none.
fn conflict(descriptor: &Descriptor, entry: usize) -> Option<libc::flock> {
    let mut query = descriptor.range(libc::F_WRLCK, LIVENESS_OFFSET + entry as i64, 1);
    fcntl(descriptor.unverified()?, FcntlArg::F_OFD_GETLK(&mut query)).ok()?;
    Some(query)
}

/// Describes the owner of a file lock, given its process id from `F_OFD_GETLK`.
fn program(pid: libc::pid_t) -> String {
    if pid <= 0 {
        return "another program (`lslocks` may name it)".to_owned();
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    match name.trim_end() {
        "" => format!("another program (pid {pid})"),
        name => format!("another program (pid {pid}, {name})"),
    }
}

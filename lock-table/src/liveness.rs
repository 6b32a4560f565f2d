//! The liveness lock of a process: an open-file-description lock on the byte of its entry, far beyond what is mapped.
//!
//! The kernel drops it when the process exits or executes another program, whatever happens. It belongs to an open file description
//! that only a mapping keeps alive, so that the program cannot close it, and that forked children do not inherit.
//!
//! On overlayfs such a mapping refers to the file below, and the lock ends when the descriptor is closed. There the descriptor is kept.
//! A process that may not open the store again, as after dropping its privileges, has no lock: other proof has to do.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use crate::descriptor::{Descriptor, KeptDescription};
use crate::layout::LIVENESS_OFFSET;
use crate::table_file::{TableFile, Verified};
use lock_core::{Error, ErrorKind, Result};

/// What keeps the lock of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keeping {
    /// A mapping: without the lock, the process is dead or executes another program.
    Mapping = 1,
    /// A descriptor, which the program may close.
    Descriptor = 2,
    /// There is no lock.
    Nothing = 3,
}

impl Keeping {
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
    /// `None` where the store cannot be opened again.
    description: Option<KeptDescription>,
}

impl Liveness {
    /// Without a lock yet. Where the file may not be opened again, a process `with_proof` of its death does without.
    pub(crate) fn open(file: &TableFile, with_proof: bool) -> Result<Self> {
        match file.reopen() {
            Ok(description) => Ok(Self { description: Some(description) }),
            Err(error) if with_proof && is_refusal(&error) => Ok(Self { description: None }),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn keeping(&self) -> Keeping {
        match &self.description {
            Some(description) if description.has_mapping() => Keeping::Mapping,
            Some(_) => Keeping::Descriptor,
            None => Keeping::Nothing,
        }
    }

    /// Takes the lock of an entry; false when another process has it.
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

    /// The program whose file lock covers the lock of an entry, and is no liveness lock.
    pub(crate) fn foreign_lock(&self, entry: usize) -> Option<String> {
        let descriptor = self.description.as_ref().and_then(KeptDescription::descriptor)?;
        let found = conflict(descriptor, entry)?;
        let is_liveness_lock = (found.l_start, found.l_len) == (LIVENESS_OFFSET + entry as i64, 1);
        let is_foreign = i32::from(found.l_type) != libc::F_UNLCK && !is_liveness_lock;
        is_foreign.then(|| program(found.l_pid))
    }

    /// Leaves the lock to the mapping, if there is one: the program can no longer close it.
    pub(crate) fn close(&mut self) {
        if let Some(description) = &mut self.description {
            description.close();
        }
    }
}

/// Whether the store cannot be opened again by this process, though it has it open.
fn is_refusal(error: &Error) -> bool {
    let ErrorKind::System { source, .. } = error.kind() else { return false };
    matches!(source.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::ENOENT | libc::EROFS))
}

fn lock_byte(descriptor: &Descriptor, entry: usize, kind: libc::c_int) -> Result<bool> {
    let range = descriptor.range(kind, LIVENESS_OFFSET + entry as i64, 1);
    let Some(fd) = descriptor.unverified() else { return Ok(false) };
    match fcntl(fd, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN) => Ok(false),
        Err(errno) => Err(Error::refused("fcntl F_OFD_SETLK", errno)),
    }
}

impl TableFile {
    /// Whether a process has the liveness lock of an entry; `None` when that cannot be found out.
    pub(crate) fn is_locked(&self, entry: usize) -> Option<bool> {
        // The call notices itself when the number became another file's.
        is_locked(&self.first, entry).or_else(|| match self.get().ok()? {
            Verified::First(_) => is_locked(&self.first, entry),
            Verified::Again(descriptor) => is_locked(&descriptor, entry),
        })
    }
}

/// Whether another description has the lock of an entry; `None` when that cannot be asked.
fn is_locked(descriptor: &Descriptor, entry: usize) -> Option<bool> {
    let query = conflict(descriptor, entry)?;
    Some(query.l_type != libc::F_UNLCK as libc::c_short)
}

/// The lock of another description that conflicts with the lock of an entry; one of the type `F_UNLCK` where there is none.
fn conflict(descriptor: &Descriptor, entry: usize) -> Option<libc::flock> {
    let mut query = descriptor.range(libc::F_WRLCK, LIVENESS_OFFSET + entry as i64, 1);
    fcntl(descriptor.unverified()?, FcntlArg::F_OFD_GETLK(&mut query)).ok()?;
    Some(query)
}

/// Describes the owner of a file lock, as `F_GETLK` has it.
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

//! A file of a peer. It represents data or a log of a program.

use std::fmt::Display;
use std::fs::File;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};

use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use nix::sys::stat::{FileStat, fstat};
use nix::unistd::{Whence, lseek, read};

use lock_core::{Error, Result};

use crate::sys;

/// A descriptor of the program, with its expected state.
pub(super) struct OwnFile {
    number: RawFd,
    facts: FileStat,
    content: Vec<u8>,
    flags: (i32, i32),
}

/// First byte and number of bytes of the lock that a program has on each of its files.
pub(crate) const LOCKED: (i64, i64) = (10, 20);
/// The position in the file.
const POSITION: i64 = 7;

impl OwnFile {
    /// Creates the file and locks it, by an open-file-description lock and by `flock`.
    pub(super) fn create(path: &str) -> Result<Self> {
        let file =
            File::options().read(true).write(true).create_new(true).open(path).map_err(|error| Error::system("open", error))?;
        let content = format!("a file of the program, {path}\n").repeat(8).into_bytes();
        nix::unistd::write(&file, &content).map_err(|errno| Error::system("write", errno))?;
        lseek(&file, POSITION, Whence::SeekSet).map_err(|errno| Error::system("lseek", errno))?;
        fcntl(&file, FcntlArg::F_OFD_SETLK(&locked_bytes())).map_err(|errno| Error::system("fcntl", errno))?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| Error::system("flock", errno))?;
        let number = file.as_raw_fd();
        // From here on, only the number is used: a `File` would abort the process if the library closed it.
        mem::forget(file);
        Self::at(number, content)
    }

    /// Duplicates the descriptor over another number.
    pub(super) fn duplicate_over(&self, number: RawFd) -> Result<Self> {
        sys::duplicate_over(self.number, number).map_err(|error| Error::system("dup3", error))?;
        Self::at(number, self.content.clone())
    }

    fn at(number: RawFd, content: Vec<u8>) -> Result<Self> {
        let facts = fstat(sys::by_number(number)).map_err(|errno| Error::system("fstat", errno))?;
        Ok(Self { number, facts, content, flags: flags_of(number)? })
    }

    pub(super) fn number(&self) -> RawFd {
        self.number
    }

    /// Describes the first difference from the expected state. Locks are checked by another process.
    pub(super) fn damage(&self) -> Option<String> {
        let (number, fd) = (self.number, sys::by_number(self.number));
        let told = |what: &str, by: &dyn Display| Some(format!("the program's descriptor {number} {what}: {by}"));
        let facts = match fstat(fd) {
            Ok(facts) => facts,
            Err(errno) => return told("was closed", &errno),
        };
        if (facts.st_dev, facts.st_ino) != (self.facts.st_dev, self.facts.st_ino) {
            return told("is another file", &format!("inode {}, not {}", facts.st_ino, self.facts.st_ino));
        }
        if facts.st_size != self.facts.st_size {
            return told("has another size", &format!("{}, not {}", facts.st_size, self.facts.st_size));
        }
        match lseek(fd, 0, Whence::SeekCur) {
            Ok(POSITION) => {}
            other => return told("is at another position", &format!("{other:?}")),
        }
        let mut content = vec![0; self.content.len()];
        let whole = lseek(fd, 0, Whence::SeekSet).and_then(|_| read(fd, &mut content)) == Ok(content.len());
        if !whole || content != self.content || lseek(fd, POSITION, Whence::SeekSet) != Ok(POSITION) {
            return told("has another content", &String::from_utf8_lossy(&content));
        }
        match flags_of(number) {
            Ok(flags) if flags == self.flags => None,
            other => told("has other flags", &format!("{other:?}")),
        }
    }
}

/// Returns the flags of the descriptor and of the open file.
fn flags_of(number: RawFd) -> Result<(i32, i32)> {
    let get = |argument| fcntl(sys::by_number(number), argument).map_err(|errno| Error::system("fcntl", errno));
    let status = OFlag::from_bits_truncate(get(FcntlArg::F_GETFL)?);
    Ok((get(FcntlArg::F_GETFD)?, status.bits()))
}

fn locked_bytes() -> libc::flock {
    let (start, length) = LOCKED;
    libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: start, l_len: length, l_pid: 0 }
}

use std::fs;
use std::io;

use crate::file::FileId;
use crate::scan::{self, Call, Found};
use crate::thread::Thread;

/// A process that has a file open or mapped.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileUser {
    /// The first thread of the process.
    pub process: Thread,
    /// The number of descriptors that are open on the file.
    pub descriptors: usize,
    /// Whether one of the descriptors has the file locked with fcntl(2), for writing.
    ///
    /// A lock of an open file description (`F_OFD_SETLK`) belongs to all processes that have inherited its descriptor. Locks of
    /// flock(2) do not conflict with those of fcntl(2), and do not count.
    pub has_lock: bool,
    /// Whether one of the descriptors has the file locked with flock(2). The lock belongs to all processes that have inherited
    /// the descriptor.
    pub has_flock: bool,
    /// Whether the file is mapped. A mapping keeps the lock of a description whose descriptors are closed.
    pub is_mapped: bool,
}

/// Finds the processes that have the file open or mapped.
pub fn file_users(file: &FileId) -> Found<FileUser> {
    scan::processes(|pid| {
        // Reading the directory needs the same rights as the links and files in it.
        let entries = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let descriptors: Vec<u32> = numbers.filter(|fd| is_open_at(pid, *fd, file)).collect();
        let is_mapped = !scan::mappings(pid, file)?.is_empty();
        if descriptors.is_empty() && !is_mapped {
            return Ok(Vec::new());
        }
        let locks: Vec<String> = descriptors.iter().flat_map(|fd| locks(pid, *fd)).collect();
        let (has_lock, has_flock) = (locks.iter().any(|line| is_for_writing(line)), locks.iter().any(|line| is_flock(line)));
        let user = |process| FileUser { process, descriptors: descriptors.len(), has_lock, has_flock, is_mapped };
        Ok(Thread::find(pid).map(user).into_iter().collect())
    })
}

/// Finds the threads that sleep in fcntl(2) or flock(2) until they can lock the file.
pub fn file_lock_waiters(file: &FileId) -> Found<Thread> {
    scan::processes(|pid| {
        let mut waiters = Vec::new();
        for tid in scan::numbers(format!("/proc/{pid}/task")) {
            let call = match Call::of(pid, tid) {
                // The thread has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                call => call?,
            };
            if call.is_some_and(|call| waits_for(call, pid, file)) {
                waiters.extend(Thread::find(tid));
            }
        }
        Ok(waiters)
    })
}

/// Returns the locks of an open file description, which are on the file of the descriptor.
fn locks(pid: u32, fd: u32) -> Vec<String> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    info.lines().filter_map(|line| line.strip_prefix("lock:")).map(str::to_owned).collect()
}

/// Parses a line such as `1: OFDLCK ADVISORY  WRITE -1 00:1a:3 0 EOF`.
fn is_for_writing(line: &str) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    matches!(fields.next(), Some("OFDLCK" | "POSIX")) && fields.nth(1) == Some("WRITE")
}

fn is_flock(line: &str) -> bool {
    line.split_ascii_whitespace().nth(1) == Some("FLOCK")
}

fn waits_for(call: Call, pid: u32, file: &FileId) -> bool {
    let [fd, operation, _] = call.arguments;
    let is_lock = match call.number {
        libc::SYS_fcntl => [libc::F_SETLKW, libc::F_OFD_SETLKW].contains(&(operation as i32)),
        libc::SYS_flock => true,
        _ => false,
    };
    is_lock && is_open_at(pid, fd as u32, file)
}

/// Returns whether a descriptor of a process is open on the file.
fn is_open_at(pid: u32, fd: u32, file: &FileId) -> bool {
    fs::metadata(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|meta| file.is(&meta))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_for_writing_or_for_reading() {
        assert!(is_for_writing("\t1: OFDLCK ADVISORY  WRITE -1 00:1a:3 0 EOF"));
        assert!(is_for_writing("\t1: POSIX  ADVISORY  WRITE 4711 00:1a:3 0 EOF"));
        assert!(!is_for_writing("\t1: FLOCK  ADVISORY  WRITE 4711 00:1a:3 0 EOF"));
        assert!(is_flock("\t1: FLOCK  ADVISORY  WRITE 4711 00:1a:3 0 EOF"));
        assert!(!is_flock("\t1: OFDLCK ADVISORY  WRITE -1 00:1a:3 0 EOF"));
        assert!(!is_for_writing("\t1: POSIX  ADVISORY  READ 4711 00:1a:3 0 EOF"));
    }
}

use std::fs;
use std::io;

use crate::file::FileId;
use crate::scan::{self, Call, Found};
use crate::thread::Thread;

/// Finds the processes that have the file locked with fcntl(2) or flock(2).
///
/// A lock of an open file description (`F_OFD_SETLK`, flock) belongs to all processes that have inherited its descriptor, and each of
/// them is found.
pub fn file_lock_owners(file: &FileId) -> Found<Thread> {
    scan::processes(|pid| {
        // Reading a link in `fd` needs the same rights as `fdinfo` on current kernels, and the directory may be read before both.
        let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo"))?;
        let numbers = descriptors.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_locked = |fd: u32| {
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
            info.lines().filter_map(|line| line.strip_prefix("lock:")).any(|line| is_held(line, file, pid, fd))
        };
        Ok(numbers.into_iter().any(is_locked).then(|| Thread::find(pid)).flatten().into_iter().collect())
    })
}

/// Parses a line such as `1: OFDLCK ADVISORY  WRITE -1 00:1a:3 0 EOF` of a file descriptor's information.
fn is_held(line: &str, file: &FileId, pid: u32, fd: u32) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (_kind, _type, access, _pid) = (fields.next(), fields.next(), fields.next(), fields.next());
    let Some((device, inode)) = fields.next().and_then(|place| place.rsplit_once(':')) else { return false };
    let same_file = || file.is_named(device, inode, None) || is_open_at(pid, fd, file);
    // A lock that is being waited for begins with an arrow instead of a kind.
    access == Some("WRITE") && same_file()
}

/// Finds the threads that sleep in fcntl(2) or flock(2) until they can lock the file.
pub fn file_lock_waiters(file: &FileId) -> Found<Thread> {
    scan::processes(|pid| {
        let mut waiters = Vec::new();
        for tid in scan::numbers(format!("/proc/{pid}/task")) {
            let call = match Call::of(pid, tid) {
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
pub(crate) fn is_open_at(pid: u32, fd: u32, file: &FileId) -> bool {
    fs::metadata(format!("/proc/{pid}/fd/{fd}")).is_ok_and(|meta| file.is(&meta))
}

use std::io;
use std::time::Duration;

use crate::file::FileId;
use crate::scan::{self, Call, Found, Mapping};
use crate::thread::Thread;

/// A thread that sleeps in futex(2) on a word of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FutexWaiter {
    /// The thread.
    pub thread: Thread,
    /// The offset of the word in the file.
    pub offset: u64,
    /// The value of the word when the thread fell asleep.
    pub value: u32,
    /// How long the thread has slept, where the kernel says it.
    pub asleep: Option<Duration>,
}

/// Finds the threads that sleep in futex(2) on a word of this file, which their processes have mapped.
///
/// A sleep on a futex that is private to a process (`FUTEX_PRIVATE_FLAG`) is none on the file, because only its own process wakes it.
pub fn futex_waiters(file: &FileId) -> Found<FutexWaiter> {
    scan::processes(|pid| of_process(pid, &scan::mappings(pid, file)?))
}

fn of_process(pid: u32, mappings: &[Mapping]) -> io::Result<Vec<FutexWaiter>> {
    let mut waiters = Vec::new();
    if mappings.is_empty() {
        return Ok(waiters);
    }
    for tid in scan::numbers(format!("/proc/{pid}/task")) {
        let call = match Call::of(pid, tid) {
            // The thread has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            call => call?,
        };
        if let Some((offset, value)) = call.and_then(|call| sleep(call, mappings))
            && let Some(thread) = Thread::find(tid)
        {
            let asleep = thread.asleep();
            waiters.push(FutexWaiter { thread, offset, value, asleep });
        }
    }
    Ok(waiters)
}

/// Returns the offset in the file and the expected value of a sleep on a word of the file.
pub(crate) fn sleep(call: Call, mappings: &[Mapping]) -> Option<(u64, u32)> {
    let [address, operation, value] = call.arguments;
    if !call.is_futex_wait() || operation & libc::FUTEX_PRIVATE_FLAG as u64 != 0 {
        return None;
    }
    let mapping = mappings.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))?;
    Some((address - mapping.start + mapping.offset, value as u32))
}

//! The files of `/proc/PID`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use nix::sys::signal::Signal;

/// Flags of a thread, from the kernel's `linux/sched.h`.
pub(crate) const PF_EXITING: u64 = 0x4;
const PF_POSTCOREDUMP: u64 = 0x8;
const PF_DUMPCORE: u64 = 0x200;
const PF_SIGNALED: u64 = 0x400;

/// Reads a file of `/proc`, whose size is not known before. One that is no longer than a command line of 1 KiB takes two reads.
pub(crate) fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1024);
    // For a `File` alone, `read_to_end` asks the kernel for the size, and begins with short reads.
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads such a file as text.
pub(crate) fn read_text(path: &str) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Reads a field of a file `/proc/PID/stat`. The first field has the number 1.
pub(crate) fn stat_field(path: &str, number: usize) -> Option<u64> {
    field(&read_text(path).ok()?, number)
}

/// Parses a field of the text of such a file, as numbered in proc_pid_stat(5).
fn field<T: FromStr>(stat: &str, number: usize) -> Option<T> {
    // The second field is the command in parentheses, which may contain blanks and parentheses.
    stat.rsplit_once(')')?.1.split_whitespace().nth(number - 3)?.parse().ok()
}

/// Returns true if a thread of the process with this directory is idle.
///
/// The process then neither exits nor executes another program.
///
/// A fatal signal, `exit_group` and `exec` make SIGKILL pending for all threads except the calling thread, and wake them. The calling
/// thread does not sleep interruptibly until it exits or executes the other program.
pub(crate) fn has_idle_thread(directory: &str) -> bool {
    const THREADS: usize = 64;
    let Ok(tasks) = fs::read_dir(format!("{directory}/task")) else { return false };
    tasks.take(THREADS).flatten().any(|task| is_idle(&task.path()) == Some(true))
}

/// Returns true if a thread sleeps interruptibly or is stopped, and is not exiting.
fn is_idle(task: &Path) -> Option<bool> {
    const LEAVING: u64 = PF_EXITING | PF_POSTCOREDUMP | PF_DUMPCORE | PF_SIGNALED;
    let killed = pending_signals(task)? & 1 << (Signal::SIGKILL as u64 - 1) != 0;
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let (state, flags): (char, u64) = (field(&stat, 3)?, field(&stat, 9)?);
    Some(!killed && flags & LEAVING == 0 && matches!(state, 'S' | 'T' | 't'))
}

/// Returns the signals that are pending for a thread, without those that are pending for its process.
fn pending_signals(task: &Path) -> Option<u64> {
    let status = fs::read_to_string(task.join("status")).ok()?;
    let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"))?;
    u64::from_str_radix(pending.trim(), 16).ok()
}

//! Wall clocks that are wrong, by the library of faketime(1).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The differences of clients' wall clocks, which take turns.
const SKEWS: [&str; 3] = ["+0", "+3600", "-86400"];

/// Returns the library, if it is installed.
pub(crate) fn library() -> Option<PathBuf> {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    directories.map(|directory| directory.join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file())
}

/// Gives the command of this client a wrong wall clock, but right clocks that count from the start of the machine.
pub(crate) fn set(command: &mut Command, client: usize) {
    if let Some(library) = library() {
        command.env("LD_PRELOAD", library).env("FAKETIME", SKEWS[client % SKEWS.len()]).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// Removes the shared memory and the semaphore that the library leaves behind when its process is killed.
pub(crate) fn clean_up_after(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        // They are not there if the library is not installed, or the process has removed them.
        let _ = fs::remove_file(format!("/dev/shm/{name}{process}"));
    }
}

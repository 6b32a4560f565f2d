//! `systemd-tmpfiles --clean`, which removes files that look unused, on the directory of a store.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use super::room::store_in;

/// Removes everything below the directory that nobody seems to have used for a day.
fn clean(directory: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let configuration = scratch.path().join("clean.conf");
    fs::write(&configuration, format!("d {} - - - AaMm:1d\n", directory.display())).unwrap();
    let status = Command::new("systemd-tmpfiles").arg("--clean").arg(&configuration).status().unwrap();
    assert!(status.success(), "systemd-tmpfiles: {status}");
}

/// Has all files and directories look as if they had not been used for 30 days.
fn make_old(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.metadata().unwrap().is_dir() {
            make_old(&entry.path());
        }
        let long_ago = SystemTime::now() - Duration::from_secs(30 * 86_400);
        File::open(entry.path()).unwrap().set_times(FileTimes::new().set_accessed(long_ago).set_modified(long_ago)).unwrap();
    }
}

pub(crate) fn a_store_that_is_cleaned_while_a_lock_is_held_keeps_it() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let guard = store.retrieve(3).unwrap().lock_owned().unwrap();
    fs::write(scratch.path().join("unused"), "").unwrap();
    make_old(scratch.path());
    clean(scratch.path());
    assert!(!scratch.path().join("unused").exists(), "the cleaner removed nothing");
    let is_free = || {
        let try_lock = || store.retrieve(3).unwrap().try_lock().unwrap().is_some();
        thread::scope(|scope| scope.spawn(try_lock).join().unwrap())
    };
    assert!(!is_free(), "the lock is held");
    store.check().unwrap();
    store.allocate("after the cleaner").unwrap();
    guard.unlock().unwrap();
    assert!(is_free());
}

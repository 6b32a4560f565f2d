//! `systemd-tmpfiles --clean`, which removes unused files, on the directory of a store.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use super::file_systems::store_in;

/// Removes the files below the directory whose times are more than a day old.
fn clean(directory: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let configuration = scratch.path().join("clean.conf");
    fs::write(&configuration, format!("d {} - - - AaMm:1d\n", directory.display())).unwrap();
    let status = Command::new("systemd-tmpfiles").arg("--clean").arg(&configuration).status().unwrap();
    assert!(status.success(), "systemd-tmpfiles: {status}");
}

/// Sets the access and modification times of all files and directories to 30 days ago.
fn make_old(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.metadata().unwrap().is_dir() {
            make_old(&entry.path());
        }
        let long_ago = SystemTime::now() - Duration::from_secs(30 * 86_400);
        File::open(entry.path()).unwrap().set_times(FileTimes::new().set_accessed(long_ago).set_modified(long_ago)).unwrap();
    }
}

pub(crate) fn systemd_tmpfiles_does_not_remove_a_held_lock() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let guard = store.retrieve(3).unwrap().lock_owned().unwrap();
    fs::write(scratch.path().join("unused"), "").unwrap();
    make_old(scratch.path());
    clean(scratch.path());
    assert!(!scratch.path().join("unused").exists(), "systemd-tmpfiles removed no file");
    let is_free = || {
        let try_lock = || store.retrieve(3).unwrap().try_lock().unwrap().is_some();
        thread::scope(|scope| scope.spawn(try_lock).join().unwrap())
    };
    assert!(!is_free(), "the held lock was granted to another thread");
    store.check().unwrap();
    _ = store.allocate("after the cleaner").unwrap();
    guard.unlock().unwrap();
    assert!(is_free());
}

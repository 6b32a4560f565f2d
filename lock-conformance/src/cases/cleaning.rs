//! Stores whose directories a program cleans, as `systemd-tmpfiles` does.
//!
//! Such programs remove unused files, except those with the sticky bit (see the XDG Base Directory Specification).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::cases;
use crate::fixture::Fixture;
use crate::need;
use crate::process::LockRef;

cases! { "cleaning";
    a_store_whose_directory_is_cleaned_is_the_same [STORE FILES PROCESSES];
    a_lock_whose_directory_is_cleaned_stays_held [STORE FILES PROCESSES];
}

const STICKY: u32 = 0o1000;

/// Removes the files below the directory that do not have the sticky bit.
fn clean(directory: &Path) {
    for entry in fs::read_dir(directory).expect("the directory of the store can be read").flatten() {
        let facts = entry.metadata().expect("the file exists");
        if facts.is_dir() {
            clean(&entry.path());
        } else if facts.mode() & STICKY == 0 {
            fs::remove_file(entry.path()).expect("the file can be removed");
        }
    }
}

fn a_store_whose_directory_is_cleaned_is_the_same(fixture: &Fixture) {
    let (directory, url) = fixture.fresh_place();
    let (user, other) = (fixture.blank_peer(), fixture.blank_peer());
    let id: String = user.must("open", &["create", &url]).get("id");
    let lock = fixture.a_lock(&user);
    user.lock(lock);
    user.unlock(lock);
    clean(&directory);
    user.must("check", &[]);
    let seen: String = other.must("open", &["open", &url]).get("id");
    assert_eq!(seen, id, "the store has another identity after its directory was cleaned");
    if let LockRef::Number(number) = lock
        && need::NUMBERED.is_met(&fixture.suite)
    {
        assert_eq!(other.allocated(), [number], "the allocated ids changed when the directory was cleaned");
    }
}

fn a_lock_whose_directory_is_cleaned_stays_held(fixture: &Fixture) {
    let (directory, url) = fixture.fresh_place();
    let owner = fixture.blank_peer();
    owner.must("open", &["create", &url]);
    let lock = fixture.a_lock(&owner);
    owner.lock(lock);
    clean(&directory);
    let other = fixture.peer_with(&url);
    other.finds_busy(lock, "cleaning the directory does not release it");
    owner.unlock(lock);
    let granted = other.finds_free(lock, "its owner released it, after a program had cleaned the directory");
    assert!(granted.death.is_none(), "a death is reported, although no owner died");
}

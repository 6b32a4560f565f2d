//! The permission bits of a store's files.
//!
//! They must not depend on the umask of the process that creates the files.
//!
//! Stores that cannot be removed are exempt: their files are in directories of other programs, which set the permissions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::getegid;

use super::sharing::files_below;
use super::{cases, first_ids, with_option};
use crate::fixture::Fixture;
use crate::need;
use crate::process::LockRef;

cases! { "sharing";
    a_private_store_is_private_whatever_the_umask [STORE REMOVAL];
    a_store_of_a_group_is_closed_to_others_whatever_the_umask [STORE GROUPS REMOVAL];
}

const UMASKS: [&str; 3] = ["022", "000", "077"];
/// Number of ids and locks that a case uses, each of which may have a separate file.
const MANY: u32 = 60;

fn a_private_store_is_private_whatever_the_umask(fixture: &Fixture) {
    for umask in UMASKS {
        let (dir, url) = fixture.fresh_place();
        use_store(fixture, &url, umask);
        has_no_bit_of(&dir, 0o077, umask);
    }
}

fn a_store_of_a_group_is_closed_to_others_whatever_the_umask(fixture: &Fixture) {
    let option = (fixture.suite.option_for_group.as_ref().expect("the case needs a group"))(getegid().as_raw());
    for umask in UMASKS {
        let dir = fixture.fresh_dir();
        let url = with_option(&fixture.url_in(&dir), &option);
        fixture.will_make(&url);
        use_store(fixture, &url, umask);
        has_no_bit_of(&dir, 0o007, umask);
    }
}

/// Runs all operations that create files, with this umask.
fn use_store(fixture: &Fixture, url: &str, umask: &str) {
    let (a, b) = (fixture.blank_peer(), fixture.blank_peer());
    for (thread, mode) in [(&a, "create"), (&b, "open")] {
        thread.must("umask", &[umask]);
        thread.must("open", &[mode, url]);
    }
    let locks = if need::NUMBERED.is_met(&fixture.suite) {
        let end = first_ids(fixture, &a, MANY).end.to_string();
        a.must("lock_range", &["0", &end]);
        a.must("release_all", &[]);
        a.must("allocate_many", &[&end]);
        a.must("free_all", &[]);
        vec![LockRef::Number(a.allocate("")), LockRef::Number(90), LockRef::Number(b.allocate(""))]
    } else {
        vec![LockRef::Single]
    };
    let others = need::PROCESSES.is_met(&fixture.suite);
    for lock in locks {
        a.lock(lock);
        let waiter = others.then(|| b.start_lock(lock));
        if let Some(waiter) = &waiter {
            waiter.waits("another process holds the lock");
        }
        a.unlock(lock);
        if let Some(waiter) = waiter {
            waiter.granted();
            b.unlock(lock);
        }
    }
}

fn has_no_bit_of(dir: &Path, bits: u32, umask: &str) {
    for file in files_below(dir) {
        let facts = fs::symlink_metadata(&file).expect("the file exists");
        let mode = facts.permissions().mode() & 0o7777;
        let name = file.strip_prefix(dir).unwrap_or(&file).display();
        assert!(
            facts.is_symlink() || mode & bits == 0,
            "with the umask {umask}, {name} gets the mode {mode:04o}, which lets others in ({:03o})",
            mode & bits
        );
    }
}

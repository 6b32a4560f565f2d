//! Symbolic links in place of a store or one of its files.
//!
//! A member of a shared store can create them. Backends must not create or remove files at the target of a link.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::cases;
use super::sharing::files_below;
use crate::fixture::{Fixture, USER};
use crate::need;
use crate::process::{LockRef, Thread};
use crate::protocol::Refusal;

cases! { "links";
    nothing_is_made_or_removed_through_a_link [STORE PROCESSES USERS ROOT];
    nothing_is_made_through_a_link_to_nothing [STORE PROCESSES USERS ROOT];
    no_file_of_a_store_is_opened_through_a_link [STORE PROCESSES LOCAL];
    a_refusal_because_of_a_link_says_so [STORE PROCESSES LOCAL];
}

/// Ids that are used before there is a link, and ids that are used for the first time afterwards.
///
/// Some of them share a directory in a backend that has one for several ids.
const BEFORE: [u32; 3] = [0, 1, 5];
const AFTER: [u32; 5] = [2, 64, 100, 257, 261];

fn nothing_is_made_or_removed_through_a_link(fixture: &Fixture) {
    replace_each_file(fixture, |moved, _| moved.to_owned());
}

fn nothing_is_made_through_a_link_to_nothing(fixture: &Fixture) {
    replace_each_file(fixture, |_, elsewhere| elsewhere.join("nothing"));
}

/// Replaces each file and directory of a store by a link, and asserts that the target does not change.
///
/// Each round replaces one file of a new store by a link to `target`. Root then uses and destroys the store.
fn replace_each_file(fixture: &Fixture, target: fn(&Path, &Path) -> PathBuf) {
    let mut level = 0;
    while replace_file(fixture, level, target) {
        level += 1;
    }
    assert!(level > 0, "the store has no file that could be replaced");
}

/// Runs the round for one file. Returns false if the store has fewer files.
fn replace_file(fixture: &Fixture, level: usize, target: fn(&Path, &Path) -> PathBuf) -> bool {
    let (dir, url) = fixture.place_for_users();
    let elsewhere = fixture.dir_for_users();
    let (maker, early) = (fixture.blank_peer_of(USER), fixture.blank_peer());
    maker.must("open", &["create", &url]);
    use_all(fixture, &maker, &BEFORE);
    early.must("open", &["open", &url]);
    let Some(replaced) = files_below(&dir).into_iter().nth(level) else { return false };
    let moved = elsewhere.join("moved");
    fs::rename(&replaced, &moved).expect("root can move the file");
    symlink(target(&moved, &elsewhere), &replaced).expect("root can create a link");
    let before = listing(&elsewhere);
    let late = fixture.blank_peer();
    let opened = late.ask("open", &["open_or_create", &url]).is_ok();
    let roots = if opened { vec![&early, &late] } else { vec![&early] };
    for root in &roots {
        use_all(fixture, root, &BEFORE);
        use_all(fixture, root, &AFTER);
    }
    let (name, kind) = (replaced.strip_prefix(&dir).unwrap_or(&replaced), if moved.is_dir() { "directory" } else { "file" });
    let is_unchanged = |after: &str| {
        let (name, is_same) = (name.display(), listing(&elsewhere) == before);
        assert!(
            is_same,
            "the {kind} {name} was replaced by a link, and where the link leads to, something changed after {after}"
        );
    };
    is_unchanged("locks were used");
    for root in roots.iter().filter(|_| need::REMOVAL.is_met(&fixture.suite)) {
        let _ = root.ask("destroy", &[]);
    }
    is_unchanged("the store was to be destroyed");
    // Restores the store, so that it can be destroyed with its parts outside of the directory.
    if fs::symlink_metadata(&replaced).is_ok_and(|facts| facts.is_symlink()) {
        let _ = fs::remove_file(&replaced);
    }
    let _ = fs::rename(&moved, &replaced);
    for peer in [maker, early, late] {
        fixture.kill(&peer.process);
    }
    true
}

fn no_file_of_a_store_is_opened_through_a_link(fixture: &Fixture) {
    for_each_link(fixture, |user, link| {
        if user.ask("open", &["open", &link.url]).is_err() {
            return;
        }
        use_by_new_handles(fixture, user, &BEFORE);
        use_all(fixture, user, &AFTER);
        let opened = user.process.open_files();
        let through = opened.iter().find(|file| file.starts_with(&link.target));
        assert_eq!(through, None, "{} was replaced by a link, but a process has its target open", link.name);
    });
}

fn a_refusal_because_of_a_link_says_so(fixture: &Fixture) {
    for_each_link(fixture, |user, link| {
        let says_so = |refusal: &Refusal| {
            let is_typed = refusal.kind == "Untrusted" && refusal.text.contains("link");
            assert!(is_typed, "{} was replaced by a link, but the error has the wrong kind: {refusal}", link.name);
        };
        match user.ask("open", &["open", &link.url]) {
            Err(refusal) => says_so(&refusal),
            Ok(_) => {
                for lock in locks(fixture, &BEFORE) {
                    match user.ask("try_lock", &[&lock.to_string()]) {
                        Err(refusal) => says_so(&refusal),
                        Ok(_) => user.unlock(lock),
                    }
                }
            }
        }
    });
}

/// A link in place of a file or directory of a store.
struct Link {
    /// The URL of the store.
    url: String,
    /// The file or directory that it replaces, relative to the directory of the store.
    name: String,
    /// The target of the link.
    target: PathBuf,
}

/// Runs the attempt for each file and directory of a used store, which a link replaces.
///
/// Each attempt has a new store and a new process.
fn for_each_link(fixture: &Fixture, attempt: impl Fn(&Thread, &Link)) {
    let mut level = 0;
    while attempt_with_link(fixture, level, &attempt) {
        level += 1;
    }
    assert!(level > 0, "the store has no file that could be replaced");
}

/// Runs the attempt for one file. Returns false if the store has fewer files.
fn attempt_with_link(fixture: &Fixture, level: usize, attempt: &impl Fn(&Thread, &Link)) -> bool {
    let (dir, url) = fixture.fresh_place();
    let target = fixture.own_directory().join("moved");
    let maker = fixture.blank_peer();
    maker.must("open", &["create", &url]);
    use_all(fixture, &maker, &BEFORE);
    let Some(replaced) = files_below(&dir).into_iter().nth(level) else { return false };
    fs::rename(&replaced, &target).expect("the process owns the file");
    symlink(&target, &replaced).expect("the process owns the directory");
    let name = replaced.strip_prefix(&dir).unwrap_or(&replaced).display().to_string();
    let (user, link) = (fixture.blank_peer(), Link { url, name, target });
    attempt(&user, &link);
    if fs::symlink_metadata(&replaced).is_ok_and(|facts| facts.is_symlink()) {
        let _ = fs::remove_file(&replaced);
    }
    let _ = fs::rename(&link.target, &replaced);
    for peer in [maker, user] {
        fixture.kill(&peer.process);
    }
    true
}

/// Acquires and releases each lock through many new handles, and keeps them open.
///
/// A refusal is permitted.
fn use_by_new_handles(fixture: &Fixture, thread: &Thread, ids: &[u32]) {
    for lock in locks(fixture, ids) {
        let _ = thread.ask("try_and_keep_handles", &[&lock.to_string(), "60"]);
    }
}

/// Acquires and releases each lock. A refusal is permitted.
fn use_all(fixture: &Fixture, thread: &Thread, ids: &[u32]) {
    for lock in locks(fixture, ids) {
        let lock = lock.to_string();
        if thread.ask("try_lock", &[&lock]).is_ok() {
            let _ = thread.ask("unlock", &[&lock]);
        }
    }
}

fn locks(fixture: &Fixture, ids: &[u32]) -> Vec<LockRef> {
    if need::NUMBERED.is_met(&fixture.suite) {
        ids.iter().map(|id| LockRef::Number(*id)).collect()
    } else {
        vec![LockRef::Single]
    }
}

/// Returns the names, kinds, owners, groups, modes and inodes of the files in a directory.
fn listing(directory: &Path) -> Vec<(PathBuf, [u64; 4])> {
    let mut found: Vec<_> = files_below(directory)
        .into_iter()
        .map(|file| {
            let facts = fs::symlink_metadata(&file).expect("the file exists");
            (file, [u64::from(facts.uid()), u64::from(facts.gid()), u64::from(facts.mode()), facts.ino()])
        })
        .collect();
    found.sort();
    found
}

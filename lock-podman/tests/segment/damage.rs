//! Files that are refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use lock_core::{ErrorKind, OpenMode};
use nix::unistd::geteuid;
use rstest::rstest;

use super::peer::{Segment, open};

fn moved(path: &Path) -> PathBuf {
    path.with_extension("moved")
}

#[rstest]
#[case::symbolic_link(|path: &Path| { fs::rename(path, moved(path)).unwrap(); symlink(moved(path), path).unwrap() }, "symbolic link")]
#[case::hard_link(|path: &Path| fs::hard_link(path, moved(path)).unwrap(), "2 hard links")]
#[case::directory(|path: &Path| { fs::remove_file(path).unwrap(); fs::create_dir(path).unwrap() }, "regular file")]
#[case::pipe(|path: &Path| { fs::remove_file(path).unwrap(); nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap() }, "regular file")]
#[case::group_writable(|path: &Path| fs::set_permissions(path, Permissions::from_mode(0o620)).unwrap(), "0620")]
#[case::writable(|path: &Path| fs::set_permissions(path, Permissions::from_mode(0o602)).unwrap(), "0602")]
fn an_untrusted_file_is_refused_with_its_reason(#[case] damage: fn(&Path), #[case] words: &str) {
    let segment = Segment::new();
    damage(&segment.path());
    for mode in [OpenMode::Open, OpenMode::OpenOrCreate] {
        let error = open(&segment.path(), "", mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_planted_file_is_refused_unless_its_owner_is_trusted() {
    if !geteuid().is_root() {
        // Only root can give a file away.
        return;
    }
    let segment = Segment::new();
    chown(segment.path(), Some(1000), None).unwrap();
    let error = open(&segment.path(), "", OpenMode::Open).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    assert!(error.to_string().contains("belongs to user 1000") && error.to_string().contains("owner=1000"), "{error}");
    for options in ["owner=1000", "owner=any"] {
        open(&segment.path(), options, OpenMode::Open).unwrap();
    }
    open(&segment.path(), "owner=1001", OpenMode::Open).unwrap_err();
    // Root trusts the user of a rootless segment.
    for (uid, is_trusted) in [(1000, true), (1001, false)] {
        let named = segment.path().with_file_name(format!("libpod_rootless_lock_{uid}"));
        fs::rename(segment.path(), &named).unwrap();
        assert_eq!(open(&named, "", OpenMode::Open).is_ok(), is_trusted);
        fs::rename(&named, segment.path()).unwrap();
    }
}

#[test]
fn a_segment_that_a_killed_podman_left_is_refused_with_advice() {
    let segment = Segment::new();
    let mut bytes = fs::read(segment.path()).unwrap();
    bytes[56..].fill(0);
    fs::write(segment.path(), bytes).unwrap();
    let error = open(&segment.path(), "", OpenMode::OpenOrCreate).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("podman makes it again"), "{error}");
}

#[test]
fn lists_of_a_truncated_segment_are_errors() {
    let segment = Segment::new();
    fs::File::options().write(true).open(segment.path()).unwrap().set_len(100).unwrap();
    let store = &segment.store;
    for result in [
        store.allocated().map(drop),
        store.held().map(drop),
        store.available().map(drop),
        store.waiting().map(drop),
        store.check(),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt);
    }
    assert!(store.details().iter().any(|(_, text)| text.contains("corrupt")));
}

#[test]
fn a_removed_segment_is_destroyed_and_another_one_replaced() {
    let segment = Segment::new();
    fs::rename(segment.path(), moved(&segment.path())).unwrap();
    assert_eq!(segment.store.check().unwrap_err().kind(), ErrorKind::Destroyed);
    open(&segment.path(), "", OpenMode::Create).unwrap();
    assert_eq!(segment.store.allocate("").unwrap_err().kind(), ErrorKind::Replaced);
}

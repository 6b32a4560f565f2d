//! Tables that several users share: the owner, the group and the mode of the file, and the command lines in it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use lock_core::{ErrorDetails, Label, OpenMode, Result};
use lock_table::{FileGroup, FileOwner, Kind, Table, TableOptions};
use nix::unistd::{chown, geteuid};
use rstest::rstest;

/// Ids that no account of the machine is expected to have.
const STRANGER: u32 = 59_001;
const GROUP: u32 = 59_003;

fn open(path: &Path, mode: OpenMode, options: &TableOptions) -> Result<Arc<Table>> {
    Table::open(path, Kind::new("test", 1), mode, options)
}

fn options(mode: &str) -> TableOptions {
    let mut options = TableOptions::default();
    options.mode = Some(mode.parse().unwrap());
    options
}

#[rstest]
#[case("0600", true)]
#[case("0644", false)]
#[case("0660", false)]
fn arguments_are_recorded_only_in_a_private_table(#[case] mode: &str, #[case] whole: bool) {
    let directory = tempfile::tempdir().unwrap();
    let table = open(&directory.path().join("table"), OpenMode::Create, &options(mode)).unwrap();
    table.allocate(&Label::default()).unwrap();
    let line = fs::read("/proc/self/cmdline").unwrap();
    let line = String::from_utf8_lossy(&line);
    let program = line.split('\0').next().unwrap().rsplit('/').next().unwrap();
    let named = table.allocated().unwrap()[0].allocator.clone().unwrap().command;
    let holder = table.describe(table.current_owner().unwrap()).command;
    let arguments = line.trim_end_matches('\0').contains('\0');
    for command in [named, holder] {
        assert!(program.starts_with(&command) || command.starts_with(program), "{command}");
        assert!(whole || !command.contains(' '), "{command}");
        assert!(!whole || !arguments || command.len() == 32 || command.contains(' '), "{command}");
    }
}

#[test]
fn root_creates_a_table_for_a_user_and_a_group() {
    if !geteuid().is_root() {
        return; // only root can change the owner of a file
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    let mut options = TableOptions::default();
    (options.owner, options.group) = (Some(FileOwner::User(STRANGER)), Some(FileGroup::new(GROUP)));
    open(&path, OpenMode::Create, &options).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (STRANGER, GROUP, 0o1660));
    open(&path, OpenMode::Open, &options).unwrap();
    options.group = Some(FileGroup::new(GROUP + 1));
    let error = open(&path, OpenMode::Open, &options).unwrap_err();
    assert!(matches!(error.details(), ErrorDetails::Untrusted { reason, .. } if reason.contains("59003")), "{error}");
}

#[test]
fn a_mode_does_not_make_another_owner_trusted() {
    if !geteuid().is_root() {
        return; // only root can change the owner of a file
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    drop(open(&path, OpenMode::Create, &options("0666")).unwrap());
    chown(&path, Some(STRANGER.into()), Some(GROUP.into())).unwrap();
    let error = open(&path, OpenMode::OpenOrCreate, &options("0666")).unwrap_err();
    let named = |reason: &str| reason.contains(path.to_str().unwrap()) && reason.contains("owner=59001");
    assert!(matches!(error.details(), ErrorDetails::Untrusted { reason, .. } if named(reason)), "{error}");
    let mut trusting = options("0666");
    trusting.owner = Some(FileOwner::Any);
    open(&path, OpenMode::Open, &trusting).unwrap();
    // The directory belongs to root. If it has the group of the file, the members of the group are trusted.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o770)).unwrap();
    open(&path, OpenMode::Open, &options("0666")).unwrap_err();
    chown(directory.path(), None, Some(GROUP.into())).unwrap();
    open(&path, OpenMode::Open, &options("0666")).unwrap();
}

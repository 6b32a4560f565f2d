//! Files that are not valid tables: opening them returns a specific error and does not change them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lock_core::{ErrorDetails, ErrorKind, Label, OpenMode, Result};
use lock_table::{Bound, Kind, Table, TableOptions};
use rstest::rstest;
use tempfile::TempDir;

const KIND: Kind = Kind::new("test", 1);

fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    (directory, path)
}

fn open(path: &Path, mode: OpenMode) -> Result<Arc<Table>> {
    Table::open(path, KIND, mode, &TableOptions::default())
}

/// Creates a table with one allocation, closes it, and returns the content of its file.
fn make(path: &Path) -> Vec<u8> {
    let table = open(path, OpenMode::Create).unwrap();
    table.allocate(&Label::new("kept").unwrap()).unwrap();
    drop(table);
    fs::read(path).unwrap()
}

fn refusal(path: &Path) -> ErrorDetails {
    let before = fs::symlink_metadata(path).unwrap();
    let refusals = [OpenMode::Open, OpenMode::OpenOrCreate].map(|mode| open(path, mode).unwrap_err().into_details());
    assert_eq!(refusals[0].to_string(), refusals[1].to_string());
    let after = fs::symlink_metadata(path).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    assert!(matches!(open(path, OpenMode::Create).unwrap_err().kind(), ErrorKind::Exists));
    refusals.into_iter().next().unwrap()
}

#[test]
fn open_requires_a_table_and_create_requires_none() {
    let (_directory, path) = scratch();
    assert!(matches!(open(&path, OpenMode::Open).unwrap_err().kind(), ErrorKind::Absent));
    let created = open(&path, OpenMode::OpenOrCreate).unwrap();
    assert!(matches!(open(&path, OpenMode::Create).unwrap_err().kind(), ErrorKind::Exists));
    assert_eq!(open(&path, OpenMode::OpenOrCreate).unwrap().id(), created.id());
}

#[rstest]
#[case::empty(b"".as_slice())]
#[case::short(b"LOCK".as_slice())]
#[case::text(b"a text that is longer than the magic number and the version of a table".as_slice())]
fn a_file_without_the_magic_number_is_refused(#[case] content: &[u8]) {
    let (_directory, path) = scratch();
    fs::write(&path, content).unwrap();
    assert!(matches!(refusal(&path), ErrorDetails::NotAStore { .. }));
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_directory_a_fifo_a_symbolic_link_and_a_hard_link_are_refused() {
    let (directory, path) = scratch();
    fs::create_dir(&path).unwrap();
    assert!(matches!(refusal(&path), ErrorDetails::NotAStore { .. }));
    fs::remove_dir(&path).unwrap();

    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
    assert!(matches!(refusal(&path), ErrorDetails::NotAStore { .. }));
    fs::remove_file(&path).unwrap();

    let real = directory.path().join("real");
    make(&real);
    symlink(&real, &path).unwrap();
    assert!(matches!(refusal(&path), ErrorDetails::Untrusted { reason, .. } if reason.contains("symbolic link")));
    fs::remove_file(&path).unwrap();

    fs::hard_link(&real, &path).unwrap();
    assert!(matches!(refusal(&path), ErrorDetails::Untrusted { reason, .. } if reason.contains("2 hard links")));
}

#[rstest]
#[case(0o620)]
#[case(0o602)]
#[case(0o666)]
fn a_table_that_other_users_may_write_is_refused_without_the_option_mode(#[case] mode: u32) {
    let (_directory, path) = scratch();
    make(&path);
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    assert!(matches!(refusal(&path), ErrorDetails::Untrusted { reason, .. } if reason.contains(&format!("{mode:04o}"))));
    let mut options = TableOptions::default();
    options.mode = Some(format!("{mode:o}").parse().unwrap());
    assert!(Table::open(&path, KIND, OpenMode::Open, &options).is_ok());
}

#[test]
fn a_table_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can change the owner of a file
    }
    let (_directory, path) = scratch();
    make(&path);
    nix::unistd::chown(&path, Some(65_534.into()), None).unwrap();
    assert!(matches!(refusal(&path), ErrorDetails::Untrusted { reason, .. } if reason.contains("65534")));
}

#[test]
fn another_capacity_is_refused_with_both_numbers() {
    let (_directory, path) = scratch();
    let mut options = TableOptions::default();
    options.bound = Some(Bound::Locks(40));
    Table::open(&path, KIND, OpenMode::Create, &options).unwrap();
    options.bound = Some(Bound::Locks(41));
    let error = Table::open(&path, KIND, OpenMode::OpenOrCreate, &options).unwrap_err().to_string();
    assert!(error.contains("40") && error.contains("41"), "{error}");
    assert_eq!(open(&path, OpenMode::Open).unwrap().capacity(), Some(40));
}

#[test]
fn every_changed_byte_of_the_header_is_an_error_or_harmless() {
    let (_directory, path) = scratch();
    let sound = make(&path);
    let file = File::options().write(true).open(&path).unwrap();
    for at in 0..4096 {
        for flip in [0x01, 0x80, 0xff] {
            file.write_all_at(&[sound[at] ^ flip], at as u64).unwrap();
            if let Ok(table) = open(&path, OpenMode::Open) {
                // Only a change of the words that are not fixed is accepted, and the table is usable then.
                assert!((128..760).contains(&at), "byte {at} ^ {flip:#x}");
                let id = table.allocate(&Label::default()).unwrap();
                table.slot(id).unwrap();
                table.free(id, None).unwrap();
                table.named(&Label::new("name").unwrap()).unwrap();
                table.waiting().unwrap();
            }
            // Opening the table may have changed these words, too.
            file.write_all_at(&sound[..4096], 0).unwrap();
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    let (_directory, path) = scratch();
    let sound = make(&path);
    let file = File::options().write(true).open(&path).unwrap();
    let lengths = (0..4200).chain((4200..sound.len()).step_by(4093)).chain([sound.len() - 1]);
    for length in lengths.collect::<Vec<_>>().into_iter().rev() {
        file.set_len(length as u64).unwrap();
        let details = open(&path, OpenMode::Open).unwrap_err().into_details();
        let expected = match length {
            0..8 => matches!(details, ErrorDetails::NotAStore { .. }),
            _ => matches!(details, ErrorDetails::Corrupt { .. }),
        };
        assert!(expected, "{length}: {details}");
    }
}

//! File locks of other programs on a table's file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use lock_core::{ErrorDetails, OpenMode, Result};
use lock_table::{Kind, Table, TableOptions};
use nix::fcntl::{FcntlArg, fcntl};

fn open(path: &Path) -> Result<Arc<Table>> {
    Table::open(path, Kind::new("test", 1), OpenMode::OpenOrCreate, &TableOptions::default())
}

/// Locks a range of the file until the result is dropped. A length of 0 means to the end of the file.
fn lock(path: &Path, start: i64, length: i64) -> File {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let range =
        libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: start, l_len: length, l_pid: 0 };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&range)).unwrap();
    file
}

#[test]
fn a_foreign_lock_on_the_whole_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    drop(open(&path).unwrap());
    let foreign = lock(&path, 0, 0);
    let error = open(&path).unwrap_err();
    let ErrorDetails::Untrusted { reason, .. } = error.details() else { panic!("{error}") };
    assert!(reason.starts_with("another program") && reason.contains(&path.display().to_string()), "{reason}");
    drop(foreign);
    open(&path).unwrap();
}

#[test]
fn a_foreign_lock_on_the_mapped_part_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    drop(open(&path).unwrap());
    let _foreign = lock(&path, 0, 1 << 20);
    open(&path).unwrap();
}

//! Tables that grow while other threads use them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use lock_core::{Label, LockId, OpenMode};
use lock_table::{Bound, Kind, Table, TableOptions};

const KIND: Kind = Kind::new("test", 1);

fn create(path: &Path) -> Arc<Table> {
    let mut options = TableOptions::default();
    options.bound = Some(Bound::Unbounded);
    Table::open(path, KIND, OpenMode::Create, &options).unwrap()
}

/// The first id of each segment from segment 1 up to the one that starts at the id 2^`last`.
fn segments(last: u32) -> impl Iterator<Item = LockId> {
    (10..=last).map(|segment| LockId::new(1 << segment))
}

#[test]
fn a_table_is_opened_and_checked_while_it_grows() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..200 {
        let path = directory.path().join(round.to_string());
        let table = create(&path);
        thread::scope(|scope| {
            let grower = scope.spawn(|| {
                for id in segments(20) {
                    table.slot(id).unwrap();
                }
            });
            while !grower.is_finished() {
                // Opening validates the file, although this process has it open.
                let again = Table::open(&path, KIND, OpenMode::Open, &TableOptions::default()).unwrap();
                again.check().unwrap();
                again.allocated().unwrap();
            }
        });
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn concurrent_threads_extend_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let table = create(&directory.path().join("table"));
    thread::scope(|scope| {
        for thread in 0..4 {
            let table = &table;
            scope.spawn(move || {
                for first in segments(20) {
                    table.allocate_exact(LockId::new(first.get() + thread), &Label::default()).unwrap();
                }
            });
        }
    });
    assert_eq!(table.count().unwrap(), 4 * segments(20).count() as u64);
}

#[test]
fn the_largest_id_needs_little_space() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    let table = create(&path);
    let last = LockId::new(u32::MAX);
    table.allocate_exact(last, &Label::default()).unwrap();
    table.slot(last).unwrap();
    assert_eq!(table.allocated().unwrap().iter().map(|one| one.id).collect::<Vec<_>>(), [last]);
    table.free(last, None).unwrap();
    assert_eq!(table.count().unwrap(), 0);
    let bytes = fs::metadata(&path).unwrap().blocks() * 512;
    assert!(bytes < 256 * 1024, "{bytes} bytes are used");
}

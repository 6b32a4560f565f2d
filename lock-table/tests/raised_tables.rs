//! Tables whose bound is raised.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lock_core::{ErrorKind, Label, LockId, OpenMode, Result};
use lock_table::{Bound, Kind, Table, TableOptions};
use rstest::rstest;
use tempfile::TempDir;

const KIND: Kind = Kind::new("test", 1);

fn scratch() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    (directory, path)
}

fn open(path: &Path, mode: OpenMode, bound: Option<Bound>) -> Result<Arc<Table>> {
    let mut options = TableOptions::default();
    options.bound = bound;
    Table::open(path, KIND, mode, &options)
}

fn create(path: &Path, locks: u32) -> Arc<Table> {
    open(path, OpenMode::Create, Some(Bound::Locks(locks))).unwrap()
}

/// Raises the bound, and returns the offset of the word of the file that this changes.
fn offset_of_raised_bound(path: &Path, table: &Table, capacity: u64) -> u64 {
    let before = fs::read(path).unwrap();
    table.grow(Some(capacity)).unwrap();
    let after = fs::read(path).unwrap();
    let changed: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).map(|at| at / 8).collect();
    assert!(!changed.is_empty() && changed.iter().all(|word| *word == changed[0]), "{changed:?}");
    changed[0] as u64 * 8
}

#[test]
fn growing_changes_one_word_of_the_file() {
    let (_directory, path) = scratch();
    let table = create(&path, 4);
    table.allocate(&Label::new("kept").unwrap()).unwrap();
    offset_of_raised_bound(&path, &table, 1_000_000);
    assert_eq!(table.capacity(), Some(1_000_000));
    assert_eq!((table.ids_at_creation(), table.available().unwrap()), (4, Some(999_999)));
}

#[test]
fn a_raised_table_is_the_same_table_when_it_is_opened_again() {
    let (_directory, path) = scratch();
    let table = create(&path, 4);
    table.grow(Some(3000)).unwrap();
    let id = LockId::new(2999);
    table.allocate_exact(id, &Label::new("high").unwrap()).unwrap();
    let same = open(&path, OpenMode::Open, None).unwrap();
    assert!(Arc::ptr_eq(&table, &same));
    drop((table, same));
    let again = open(&path, OpenMode::Open, None).unwrap();
    assert_eq!(again.capacity(), Some(3000));
    assert_eq!(again.allocation(id).unwrap().unwrap().label.as_str(), "high");
}

#[rstest]
#[case(Bound::Locks(4), None)]
#[case(Bound::Locks(5), None)]
#[case(Bound::Locks(8), None)]
#[case(Bound::Locks(3), Some("omit the option capacity"))]
#[case(Bound::Locks(9), Some("lockctl grow 9"))]
#[case(Bound::Unbounded, Some("lockctl grow unbounded"))]
fn a_bound_from_the_first_to_the_present_one_is_accepted(#[case] asked: Bound, #[case] advice: Option<&str>) {
    let (_directory, path) = scratch();
    create(&path, 4).grow(Some(8)).unwrap();
    match (open(&path, OpenMode::OpenOrCreate, Some(asked)), advice) {
        (Ok(table), None) => assert_eq!(table.capacity(), Some(8)),
        (Err(error), Some(advice)) => {
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::OtherCapacity);
            assert!(text.contains(&format!("8, not {asked}")) && text.contains(advice), "{text}");
        }
        (opened, _) => panic!("{opened:?}"),
    }
}

#[test]
fn a_damaged_word_is_refused_when_the_table_is_opened_and_ignored_by_open_tables() {
    let (_directory, path) = scratch();
    let table = create(&path, 4);
    let at = offset_of_raised_bound(&path, &table, 8);
    let file = File::options().write(true).open(&path).unwrap();
    for damage in [1_u64, u64::MAX, 1 << 63, 3] {
        file.write_all_at(&damage.to_ne_bytes(), at).unwrap();
        assert_eq!(table.capacity(), Some(4), "{damage:#x}");
        assert_eq!(table.grow(Some(16)).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(open(&path, OpenMode::Open, None).unwrap_err().kind(), ErrorKind::Corrupt);
        // Ids beyond the bound of the creation are out of range, and the others can be used.
        assert_eq!(table.allocation(LockId::new(7)).unwrap_err().kind(), ErrorKind::OutOfRange);
        table.free(table.allocate(&Label::default()).unwrap(), None).unwrap();
    }
}

#[test]
fn a_destroyed_table_does_not_grow() {
    let (_directory, path) = scratch();
    let table = create(&path, 4);
    table.destroy().unwrap();
    assert_eq!(table.grow(Some(8)).unwrap_err().kind(), ErrorKind::Destroyed);
}

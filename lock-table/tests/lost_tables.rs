//! Tables whose file is deleted, renamed or truncated while they are open, within one process. `lock-conformance` has the tests with
//! several processes.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use lock_core::{ErrorKind, Label, OpenMode, Result};
use lock_table::{Kind, Table, TableOptions};

fn open(path: &Path, mode: OpenMode) -> Arc<Table> {
    Table::open(path, Kind::new("test", 1), mode, &TableOptions::default()).unwrap()
}

/// The errors of a check, an allocation and two ways to free.
fn refusals(table: &Table) -> [Option<ErrorKind>; 4] {
    let kind = |result: Result<()>| result.err().map(|error| error.kind());
    [
        kind(table.check()),
        kind(table.allocate(&Label::default()).map(drop)),
        kind(table.free(0.into(), None)),
        kind(table.free_all().map(drop)),
    ]
}

#[test]
fn operations_on_a_deleted_table_return_destroyed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    let table = open(&path, OpenMode::Create);
    let id = table.allocate(&Label::default()).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(refusals(&table).iter().all(|kind| matches!(kind, Some(ErrorKind::Destroyed))), "{:?}", refusals(&table));
    let new = open(&path, OpenMode::OpenOrCreate);
    assert_ne!(new.id(), table.id());
    assert!(refusals(&table).iter().all(|kind| matches!(kind, Some(ErrorKind::Destroyed))));
    assert!(matches!(table.destroy().unwrap_err().kind(), ErrorKind::Destroyed), "destroy must not remove the new table");
    assert!(new.check().is_ok() && table.is_destroyed() && table.slot(id).is_ok());
}

#[test]
fn a_renamed_table_is_valid_until_another_table_has_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let [path, elsewhere] = ["table", "elsewhere"].map(|name| directory.path().join(name));
    let table = open(&path, OpenMode::Create);
    table.allocate(&Label::default()).unwrap();
    fs::rename(&path, &elsewhere).unwrap();
    assert!(table.check().is_ok() && table.allocate(&Label::default()).is_ok());
    let new = open(&path, OpenMode::Create);
    assert!(refusals(&table).iter().all(|kind| matches!(kind, Some(ErrorKind::Replaced))), "{:?}", refusals(&table));
    assert!(table.is_destroyed() && new.check().is_ok());
    fs::rename(&elsewhere, &path).unwrap();
    assert_eq!((table.count().unwrap(), refusals(&table).map(|kind| kind.is_none())), (2, [true, true, true, true]));
}

#[test]
fn operations_on_a_truncated_table_return_corrupt() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    let table = open(&path, OpenMode::Create);
    // Adds and maps another segment.
    table.allocate_exact(3000.into(), &Label::default()).unwrap();
    let whole = fs::read(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    for length in [0, 4095, 4096, whole.len() / 2, whole.len() - 1] {
        file.set_len(length as u64).unwrap();
        assert!(refusals(&table).iter().all(|kind| matches!(kind, Some(ErrorKind::Corrupt))), "{length}");
        assert!(matches!(table.slot(1.into()).unwrap_err().kind(), ErrorKind::Corrupt), "{length}");
        assert!(matches!(table.allocated().unwrap_err().kind(), ErrorKind::Corrupt), "{length}");
        assert!(
            matches!(table.owned(0.into(), |_, _, _| ControlFlow::Continue(())).unwrap_err().kind(), ErrorKind::Corrupt),
            "{length}"
        );
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(table.allocated().unwrap().len(), 1);
    assert!(table.free(3000.into(), None).is_ok());
}

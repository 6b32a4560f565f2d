//! Allocation, growth and identity of tables, within one process. `lock-conformance` has the tests with several processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use lock_core::{Allocation, ErrorKind, Generation, Label, LockId, OpenMode};
use lock_table::{Bound, Kind, Table, TableOptions};
use rstest::rstest;

fn create(path: &Path, bound: Bound) -> Arc<Table> {
    let mut options = TableOptions::default();
    options.bound = Some(bound);
    Table::open(path, Kind::new("test", 1), OpenMode::Create, &options).unwrap()
}

fn allocate(table: &Table) -> Option<u32> {
    match table.allocate(&Label::default()) {
        Ok(id) => Some(id.get()),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Exhausted), "{error}");
            None
        }
    }
}

#[rstest]
#[case(1)]
#[case(32)]
#[case(63)]
#[case(64)]
#[case(65)]
#[case(1000)]
#[case(1024)]
#[case(1025)]
#[case(2048)]
#[case(5000)]
fn ids_are_allocated_in_ascending_order_up_to_the_bound(#[case] locks: u32) {
    let directory = tempfile::tempdir().unwrap();
    let table = create(&directory.path().join("table"), Bound::Locks(locks));
    for id in 0..locks {
        assert_eq!(table.available().unwrap(), Some(u64::from(locks - id)));
        assert_eq!(allocate(&table), Some(id));
    }
    let error = table.allocate(&Label::default()).unwrap_err().to_string();
    assert!(error.contains(&format!("all {locks} locks")) && error.contains(&format!("({locks} in use)")), "{error}");
    for id in (0..locks).step_by(7) {
        table.free(id.into(), None).unwrap();
        assert_eq!(allocate(&table), Some(id));
    }
    assert_eq!(table.free_all().unwrap(), u64::from(locks));
    assert_eq!((table.count().unwrap(), allocate(&table)), (0, Some(0)));
    assert!(matches!(table.slot(locks.into()).unwrap_err().kind(), ErrorKind::OutOfRange));
    assert!(matches!(table.free(locks.into(), None).unwrap_err().kind(), ErrorKind::OutOfRange));
}

#[test]
fn unused_ids_need_no_space() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    let table = create(&path, Bound::Locks(1 << 20));
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 64 * 1024);
    table.allocate_exact(LockId::new((1 << 20) - 1), &Label::default()).unwrap();
    table.slot(LockId::new(777_777)).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 256 * 1024);
    assert_eq!((table.available().unwrap(), table.count().unwrap()), (Some((1 << 20) - 1), 1));
    assert_eq!(allocate(&table), Some(0));
}

#[test]
fn a_table_without_a_bound_reports_no_capacity() {
    let directory = tempfile::tempdir().unwrap();
    let table = create(&directory.path().join("table"), Bound::Unbounded);
    assert_eq!((table.capacity(), table.available().unwrap()), (None, None));
    assert_eq!((0..3000).filter_map(|_| allocate(&table)).collect::<Vec<_>>(), (0..3000).collect::<Vec<_>>());
}

#[test]
fn opening_a_table_again_returns_the_same_table() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    let table = create(&path, Bound::DEFAULT);
    let again = Table::open(&path, Kind::new("test", 1), OpenMode::Open, &TableOptions::default()).unwrap();
    assert!(Arc::ptr_eq(&table, &again));
}

#[test]
fn an_allocation_keeps_its_label_and_counts_its_generation() {
    let directory = tempfile::tempdir().unwrap();
    let table = create(&directory.path().join("table"), Bound::DEFAULT);
    for generation in 1..4 {
        let label = Label::new("é".repeat(32)).unwrap();
        let id = table.allocate(&label).unwrap();
        let list = table.allocated().unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].id, &list[0].label, list[0].generation), (id, &label, Some(Generation::new(generation))));
        assert_eq!(list[0].allocator.as_ref().unwrap().pid, std::process::id());
        let stale = table.free(id, Some(Generation::new(generation - 1))).unwrap_err();
        assert!(matches!(stale.kind(), ErrorKind::Stale));
        table.free(id, Some(Generation::new(generation))).unwrap();
        assert!(matches!(table.free(id, None).unwrap_err().kind(), ErrorKind::NotAllocated));
    }
}

#[test]
fn an_allocation_identifies_its_process() {
    let directory = tempfile::tempdir().unwrap();
    let table = create(&directory.path().join("table"), Bound::DEFAULT);
    allocate(&table);
    let allocator = table.allocated().unwrap()[0].allocator.clone().unwrap();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let start_time = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    assert_eq!(allocator.start_time, Some(start_time));
    assert_eq!(allocator.pid_namespace, Some(fs::metadata("/proc/self/ns/pid").unwrap().ino()));
}

/// Returns how much memory the mappings of this file take, in KiB.
fn mapped(path: &Path) -> u64 {
    let inode = format!(" {} ", fs::metadata(path).unwrap().ino());
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_of_file = false;
    let sizes = maps.lines().filter_map(|line| {
        // The line of a mapping begins with its address in hexadecimal.
        if line.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase()) {
            is_of_file = line.contains(&inode);
        }
        line.strip_prefix("Rss:").filter(|_| is_of_file)?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    sizes.sum()
}

#[test]
fn a_list_in_parts_keeps_only_a_part_and_the_locks_in_use_in_memory() {
    const LOCKS: u32 = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    let table = create(&path, Bound::Unbounded);
    table.reconcile(&(0..LOCKS).map(|id| (LockId::new(id), Label::new(format!("{id}")).unwrap())).collect()).unwrap();
    let whole = table.allocated().unwrap();
    let before = mapped(&path);
    assert!(before >= 16 << 10, "{before} KiB: the test has too few locks");

    let slot = table.slot(LockId::new(50_000)).unwrap();
    let mut parts = Vec::new();
    while let Some(next) = parts.last().map_or(Some(0), |one: &Allocation| one.id.get().checked_add(1)) {
        let part = table.allocated_from(LockId::new(next), 1024).unwrap();
        assert!(part.len() <= 1024);
        if part.is_empty() {
            break;
        }
        parts.extend(part);
    }
    assert_eq!(parts, whole);
    let after = mapped(&path);
    assert!(after <= 4 << 10, "{after} KiB of {before} KiB are still in memory");
    // A lock with a handle is the same as before.
    assert_eq!((slot.generation(), slot.line().token()), (Generation::new(1), 0));
}

#[test]
fn reconcile_allocates_missing_ids_and_frees_others() {
    let directory = tempfile::tempdir().unwrap();
    let table = create(&directory.path().join("table"), Bound::Locks(10_000));
    for _ in 0..100 {
        allocate(&table);
    }
    let desired = |id| (LockId::new(id), Label::new(format!("number {id}")).unwrap());
    let wanted: BTreeMap<_, _> = (50..150).chain([9_999]).map(desired).collect();
    let done = table.reconcile(&wanted).unwrap();
    assert_eq!(done.freed, (0..50).map(LockId::new).collect::<Vec<_>>());
    assert_eq!(done.allocated, (100..150).chain([9_999]).map(LockId::new).collect::<Vec<_>>());
    let allocated = table.allocated().unwrap();
    assert!(allocated.iter().map(|one| one.id).eq(wanted.keys().copied()));
    let is_labelled = |one: &Allocation| (50..100).contains(&one.id.get()) != (one.label == wanted[&one.id]);
    assert!(allocated.iter().all(is_labelled), "only a new allocation gets the label");

    let beyond = wanted.clone().into_iter().chain([desired(10_000)]).skip(10).collect();
    assert!(matches!(table.reconcile(&beyond).unwrap_err().kind(), ErrorKind::OutOfRange));
    assert_eq!(table.count().unwrap(), wanted.len() as u64);
}

#[test]
fn concurrent_threads_never_allocate_the_same_id() {
    let directory = tempfile::tempdir().unwrap();
    let table = create(&directory.path().join("table"), Bound::Locks(200));
    let used: Vec<_> = (0..200).map(|_| std::sync::atomic::AtomicBool::new(false)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..3_000 {
                    let mine: Vec<_> = (0..round % 50).filter_map(|_| allocate(&table)).collect();
                    for id in &mine {
                        assert!(!used[*id as usize].swap(true, SeqCst));
                    }
                    for id in mine {
                        used[id as usize].store(false, SeqCst);
                        table.free(id.into(), None).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(table.count().unwrap(), 0);
}

#[test]
fn only_one_of_two_concurrent_frees_succeeds() {
    const ROUNDS: usize = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let table = create(&directory.path().join("table"), Bound::Locks(1));
    let (arrived, freed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // A spinning barrier, which releases both threads at nearly the same time.
    let wait = || {
        let all = (arrived.fetch_add(1, SeqCst) / 2 + 1) * 2;
        while arrived.load(SeqCst) < all {
            std::thread::yield_now();
        }
    };
    let run = |allocates: bool| {
        for _ in 0..ROUNDS {
            if allocates {
                allocate(&table);
            }
            wait();
            freed.fetch_add(usize::from(table.free(0.into(), None).is_ok()), SeqCst);
            wait();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(true));
        scope.spawn(|| run(false));
    });
    assert_eq!(freed.load(SeqCst), ROUNDS);
}

#[test]
fn a_destroyed_table_returns_destroyed_and_its_name_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table");
    let table = create(&path, Bound::DEFAULT);
    let slot = table.slot(LockId::new(3)).unwrap();
    table.destroy().unwrap();
    assert!(matches!(table.allocate(&Label::default()).unwrap_err().kind(), ErrorKind::Destroyed));
    assert!(matches!(table.destroy().unwrap_err().kind(), ErrorKind::Destroyed));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let new = create(&path, Bound::DEFAULT);
    assert_ne!(new.id(), table.id());
    assert!(slot.holder().is_none());
}

//! Tables with a valid header and damaged content: operations return and do not panic.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use lock_core::{ErrorKind, OpenMode, Registry, Result, Store, StoreUrl};
use rstest::rstest;

/// The offsets of the waiter table, of the first line and of the first record in the file.
const WAITERS: u64 = 4096 + 16_384 * 128;
const LINE: u64 = WAITERS + 16_384 * 32 + 4096;
const RECORD: u64 = LINE + 64 * 64;

fn open(directory: &Path, mode: OpenMode) -> Result<Store> {
    let registry = Registry::default().merge([lock_shm::BACKEND])?;
    let url = StoreUrl::builder("shm").path(directory.join("store")).option("capacity", 40);
    Store::open(&registry, url, mode)
}

/// Writes a wrong word to a closed store.
fn damage(directory: &Path, at: u64, word: u64) {
    drop(open(directory, OpenMode::OpenOrCreate).unwrap());
    let file = File::options().write(true).open(directory.join("store")).unwrap();
    file.write_all_at(&word.to_ne_bytes(), at).unwrap();
}

#[test]
fn the_largest_generation_wraps_around() {
    for word in [u64::MAX, u64::MAX - 1] {
        let directory = tempfile::tempdir().unwrap();
        damage(directory.path(), RECORD + 8, word);
        let store = open(directory.path(), OpenMode::Open).unwrap();
        let lock = store.allocate("label").unwrap();
        assert_eq!(store.allocated().unwrap()[0].label.as_str(), "label");
        assert!(!lock.is_stale());
        lock.free().unwrap();
    }
}

#[test]
fn a_lock_with_the_largest_token_is_acquired_and_released() {
    let directory = tempfile::tempdir().unwrap();
    damage(directory.path(), LINE + 8, u64::MAX);
    let lock = open(directory.path(), OpenMode::Open).unwrap().retrieve(0).unwrap();
    drop(lock.lock().unwrap());
    lock.lock().unwrap().unlock().unwrap();
}

#[test]
fn the_claim_of_a_process_entry_without_blocks_is_replaced() {
    for (entry, generation) in [(900, 1), (16_383, 7), (16_384, 1), (65_535, 1 << 25)] {
        let directory = tempfile::tempdir().unwrap();
        damage(directory.path(), RECORD, (generation << 38) | (entry << 22) | 1234);
        let store = open(directory.path(), OpenMode::Open).unwrap();
        let lock = store.allocate_and_retrieve(0, "label").unwrap();
        assert_eq!(store.allocated().unwrap()[0].label.as_str(), "label");
        lock.free().unwrap();
    }
}

/// A process that is killed while it frees an id can leave a hint that a word is full although it is not.
#[test]
fn a_wrong_hint_hides_no_id() {
    const BITMAP: u64 = LINE - 4096;
    let directory = tempfile::tempdir().unwrap();
    // The word of hints follows the 16 words of the lowest level.
    damage(directory.path(), BITMAP + 16 * 8, u64::MAX);
    let store = open(directory.path(), OpenMode::Open).unwrap();
    let ids: Vec<_> = (0..40).map(|_| store.allocate("").unwrap().id().get()).collect();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    assert!(matches!(store.allocate("").unwrap_err().kind(), lock_core::ErrorKind::Exhausted));
}

/// The words of the header that mark the pages of the waiter table with blocks.
const WAITER_PAGES: [u64; 2] = [92 * 8, 93 * 8];

/// Words of a slot of the waiter table: 0, any bits, the thread 1234 of several processes, and the same while it writes its record.
#[rstest]
#[case(0)]
#[case(u64::MAX)]
#[case((1 << 38) | 1234)]
#[case((1 << 38) | (900 << 22) | 1234)]
#[case((1 << 38) | (1 << 36) | 1234)]
fn a_wait_in_a_store_with_a_damaged_waiter_table_ends(#[case] word: u64) {
    let directory = tempfile::tempdir().unwrap();
    damage(directory.path(), WAITER_PAGES[0], u64::MAX);
    damage(directory.path(), WAITER_PAGES[1], u64::MAX);
    let file = File::options().write(true).open(directory.path().join("store")).unwrap();
    let table: Vec<u8> = word.to_ne_bytes().repeat(16_384 * 4);
    file.write_all_at(&table, WAITERS).unwrap();
    let store = open(directory.path(), OpenMode::Open).unwrap();
    let lock = store.retrieve(7).unwrap();
    let guard = lock.lock().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().map(drop));
        while !store.waiting().unwrap().waiters.iter().any(|waiter| waiter.id.get() == 7) {
            assert!(!waiter.is_finished());
        }
        assert_eq!(store.held().unwrap()[0].waiters, Some(1));
        assert_eq!(lock.waiters(), Some(1));
        assert_eq!(lock.try_lock_for(Duration::from_millis(1)).unwrap_err().kind(), ErrorKind::AlreadyHeld);
        drop(guard);
        waiter.join().unwrap().unwrap();
    });
    assert!(store.waiting().unwrap().waiters.is_empty());
}

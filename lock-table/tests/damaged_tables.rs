//! A table whose header is sound may still be damaged: everything in it returns, nothing panics.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use lock_core::{OpenMode, Registry, Result, Store};

/// Where the first line and the first record are in the file.
const LINE: u64 = 4096 + 16_384 * 128 + 4096;
const RECORD: u64 = LINE + 64 * 64;

fn open(directory: &Path, mode: OpenMode) -> Result<Store> {
    let registry = Registry::default().merge([lock_shm::BACKEND])?;
    Store::open(&registry, &format!("shm:{}/store?capacity=40", directory.display()), mode)
}

/// Writes a word where it does not belong, while nobody has the store open.
fn damage(directory: &Path, at: u64, word: u64) {
    drop(open(directory, OpenMode::OpenOrCreate).unwrap());
    let file = File::options().write(true).open(directory.join("store")).unwrap();
    file.write_all_at(&word.to_ne_bytes(), at).unwrap();
}

#[test]
fn an_id_with_the_greatest_of_all_generations_is_allocated_and_freed() {
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
fn a_lock_with_the_greatest_of_all_tokens_is_taken_and_given_back() {
    let directory = tempfile::tempdir().unwrap();
    damage(directory.path(), LINE + 8, u64::MAX);
    let lock = open(directory.path(), OpenMode::Open).unwrap().retrieve(0).unwrap();
    drop(lock.lock().unwrap());
    lock.lock().unwrap().unlock().unwrap();
}

#[test]
fn an_id_that_is_claimed_for_a_seat_that_does_not_exist_can_be_allocated() {
    for (seat, turn) in [(900, 1), (16_383, 7), (16_384, 1), (65_535, 1 << 25)] {
        let directory = tempfile::tempdir().unwrap();
        damage(directory.path(), RECORD, (turn << 38) | (seat << 22) | 1234);
        let store = open(directory.path(), OpenMode::Open).unwrap();
        let lock = store.allocate_and_retrieve(0, "label").unwrap();
        assert_eq!(store.allocated().unwrap()[0].label.as_str(), "label");
        lock.free().unwrap();
    }
}

/// Who is killed between two steps of freeing can leave a hint that says full of what is not.
#[test]
fn a_hint_that_is_wrong_hides_no_id() {
    const BITMAP: u64 = LINE - 4096;
    let directory = tempfile::tempdir().unwrap();
    // Behind the 16 words of bits is the one that says which of them are full.
    damage(directory.path(), BITMAP + 16 * 8, u64::MAX);
    let store = open(directory.path(), OpenMode::Open).unwrap();
    let ids: Vec<_> = (0..40).map(|_| store.allocate("").unwrap().id().unwrap().get()).collect();
    assert_eq!(ids, (0..40).collect::<Vec<_>>());
    assert!(matches!(store.allocate("").unwrap_err().kind(), lock_core::ErrorKind::Exhausted { .. }));
}

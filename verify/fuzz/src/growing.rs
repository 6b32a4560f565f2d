use std::collections::BTreeSet;

use lock_core::{Backend, LockId, OpenMode, Store, StoreUrl};

use crate::kind;
use crate::scratch::Scratch;

/// Checks operations on ids of any size in an unbounded store against a set of numbers. The store grows in any order of its segments.
///
/// Four bytes are an operation: its kind, the highest bit of the id, and two bytes for the lower bits.
///
/// # Panics
/// If the result of an operation differs from that of the set.
pub fn growing(backend: &Backend, bytes: &[u8]) {
    let scratch = Scratch::new();
    let url: StoreUrl =
        format!("{}:{}?capacity=unbounded", backend.scheme(), scratch.store().display()).parse().expect("the URL is valid");
    let mut store = Store::with_backend(backend, &url, OpenMode::Create).expect("the store can be created");
    let mut ids = BTreeSet::new();
    for &[what, bit, high, low] in bytes.as_chunks().0 {
        let rest = u32::from_be_bytes([0, 0, high, low]);
        let id = match bit % 33 {
            0 => 0,
            bit => (1 << (bit - 1)) | (rest & ((1 << (bit - 1)) - 1)),
        };
        match what % 8 {
            0..3 => match store.allocate_and_retrieve(id, "") {
                Ok(_) => assert!(ids.insert(id), "{id} was allocated twice"),
                Err(error) => assert!(kind(&error) == "AlreadyAllocated" && ids.contains(&id), "{error}"),
            },
            3 => match store.free(id) {
                Ok(()) => assert!(ids.remove(&id), "{id} was freed without being allocated"),
                Err(error) => assert!(kind(&error) == "NotAllocated" && !ids.contains(&id), "{error}"),
            },
            4 => store.retrieve(id).and_then(|lock| lock.lock()?.unlock()).expect("no thread holds the lock"),
            5 => {
                let lock = store.allocate("").expect("the store is unbounded");
                let number = lock.id().get();
                let lowest = (0..).find(|number| !ids.contains(number)).expect("a number is free");
                assert_eq!(number, lowest);
                ids.insert(number);
            }
            6 => {
                let given: BTreeSet<_> = ids.iter().copied().filter(|known| known % 2 == id % 2).chain([id]).collect();
                let done = store.reconcile(given.iter().copied().map(LockId::new)).expect("all ids are in range");
                assert!(done.freed.iter().map(|id| id.get()).eq(ids.difference(&given).copied()));
                ids = given;
            }
            _ => {
                drop(store);
                store = Store::with_backend(backend, &url, OpenMode::Open).expect("the store can be opened");
            }
        }
        let listed = store.allocated().expect("the store is open");
        assert!(listed.iter().map(|one| one.id.get()).eq(ids.iter().copied()), "{listed:?} is not {ids:?}");
    }
    assert_eq!(store.free_all().expect("the store is open"), ids.len() as u64);
    store.destroy().expect("the store is open");
}

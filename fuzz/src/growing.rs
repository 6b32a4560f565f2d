use std::collections::BTreeSet;

use lock_core::{Backend, LockId, OpenMode, Store, StoreUrl};

use crate::kind;
use crate::scratch::Scratch;

/// Operations on ids of any size, in a store without a bound, which becomes larger in any order of its parts: each gives what a set of numbers
/// says, for every handle on the store.
///
/// Four bytes are an operation: which one, the largest bit of the id, and the rest of it.
///
/// # Panics
/// When an operation gives something else than the set says.
pub fn growing(backend: &Backend, bytes: &[u8]) {
    let scratch = Scratch::new();
    let url: StoreUrl =
        format!("{}:{}?capacity=unbounded", backend.scheme(), scratch.store().display()).parse().expect("it is a URL");
    let mut store = Store::with_backend(backend, &url, OpenMode::Create).expect("it is created");
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
                Ok(()) => assert!(ids.remove(&id), "{id} was freed, and was not allocated"),
                Err(error) => assert!(kind(&error) == "NotAllocated" && !ids.contains(&id), "{error}"),
            },
            4 => store.retrieve(id).and_then(|lock| lock.lock()?.unlock()).expect("no thread has it"),
            5 => {
                let lock = store.allocate("").expect("there is no bound");
                let number = lock.id().expect("it has a number").get();
                let lowest = (0..).find(|number| !ids.contains(number)).expect("there are more numbers than ids");
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
                store = Store::with_backend(backend, &url, OpenMode::Open).expect("it is there");
            }
        }
        let listed = store.allocated().expect("it is open");
        assert!(listed.iter().map(|one| one.id.get()).eq(ids.iter().copied()), "{listed:?} is not {ids:?}");
    }
    assert_eq!(store.free_all().expect("it is open"), ids.len() as u64);
    store.destroy().expect("it is open");
}

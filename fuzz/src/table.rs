use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lock_core::{Deadline, LockId, OpenMode, Store, StoreUrl};
use lock_table::{Kind, Owner, Table, TableOptions};

use crate::damage::damage_all;
use crate::kind;
use crate::scratch::Scratch;

/// Any bytes as the file of a store, or a sound store with any damage: it is refused with a typed error, or all its operations return.
///
/// The first byte says which: 0 to 63 for the rest as a file, cut or lengthened to so many times 64 KiB; otherwise the capacity of a sound
/// store, which is damaged once for each eight bytes that follow.
///
/// # Panics
/// When an operation returns what no operation may return.
pub fn table(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.store();
    let told = match bytes.split_first() {
        None => any(&path, &[], 0),
        Some((pages @ 0..64, rest)) => any(&path, rest, *pages),
        Some((capacity, rest)) => damaged(&path, u32::from(*capacity) - 63, rest),
    };
    let opened = look(&path);
    assert!(!(told && opened), "a header whose sum is wrong is believed");
    // Also the second time, with what the first left there.
    look(&path);
}

/// Whether it must be refused.
fn any(path: &Path, bytes: &[u8], pages: u8) -> bool {
    fs::write(path, bytes).expect("it can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    if pages > 0 {
        let file = File::options().write(true).open(path).expect("it is there");
        file.set_len(u64::from(pages) << 16).expect("it may be so long");
    }
    !bytes.starts_with(b"LOCKTBL\n")
}

/// The same.
fn damaged(path: &Path, capacity: u32, recipes: &[u8]) -> bool {
    // Some are larger than a segment.
    let capacity = if capacity > 100 { capacity * 20 } else { capacity };
    let store = open(path, OpenMode::Create, &format!("?capacity={capacity}")).expect("it is created");
    let first = store.allocate("first").expect("one is free");
    drop(first.lock().expect("it is free"));
    if capacity > 1 {
        store.allocate("second").and_then(|lock| lock.free()).expect("one is free");
    }
    drop((first, store));
    let file = File::options().read(true).write(true).open(path).expect("it is there");
    damage_all(&file, recipes).expect("a file can be damaged")
}

fn open(path: &Path, mode: OpenMode, options: &str) -> lock_core::Result<Store> {
    let url: StoreUrl = format!("shm:{}{options}", path.display()).parse().expect("it is a URL");
    Store::with_backend(&lock_shm::BACKEND, &url, mode)
}

/// Whether it could be opened.
fn look(path: &Path) -> bool {
    let before = fs::metadata(path).expect("it is there").len();
    match open(path, OpenMode::Open, "") {
        Ok(store) => {
            use_it(path, &store);
            true
        }
        Err(error) => {
            let kinds = ["NotAStore", "OtherVersion", "OtherAbi", "Corrupt", "Destroyed", "TooManyProcesses", "Limit"];
            assert!(kinds.contains(&kind(&error).as_str()), "{error}");
            assert_eq!(fs::metadata(path).expect("it is there").len(), before, "who is refused changes nothing");
            false
        }
    }
}

fn use_it(path: &Path, store: &Store) {
    let capacity = store.capacity().unwrap_or(1 << 32);
    let mut ids: BTreeSet<LockId> = list(store, capacity).into_iter().take(4).collect();
    ids.extend([0, 1, 2, 63, 64, 1024, 2047].map(LockId::new));
    look_at_the_table(path, &ids);
    for id in &ids {
        take(store, *id, capacity);
    }
    if let Ok(lock) = store.allocate("found") {
        let id = lock.id().expect("it has a number");
        assert!(u64::from(id.get()) < capacity);
        assert!(list(store, capacity).contains(&id));
        let again = store.allocate_and_retrieve(id, "").expect_err("it is allocated");
        assert_eq!(kind(&again), "AlreadyAllocated");
        lock.free().expect("it was allocated");
        assert!(!list(store, capacity).contains(&id));
    }
    let wanted: BTreeSet<_> = ids.iter().copied().filter(|id| u64::from(id.get()) < capacity).take(3).collect();
    if let Ok(done) = store.reconcile(wanted.iter().copied()) {
        assert!(done.claimed.iter().all(|id| wanted.contains(id)) && done.freed.iter().all(|id| !wanted.contains(id)));
        assert!(list(store, capacity).is_subset(&wanted));
    }
    for id in ids {
        let freed = store.free(id);
        assert!(freed.is_err() || store.free(id).is_err_and(|error| kind(&error) == "NotAllocated"));
    }
    let freed = store.free_all();
    assert!(freed.is_err() || list(store, capacity).is_empty());
    assert!(!store.details().is_empty());
}

/// Those that are allocated: in order, and ids of this store.
fn list(store: &Store, capacity: u64) -> BTreeSet<LockId> {
    if let Ok(Some(available)) = store.available() {
        assert!(available <= capacity);
    }
    for held in store.held().unwrap_or_default() {
        assert!(u64::from(held.id.get()) < capacity);
    }
    let list = store.allocated().unwrap_or_default();
    assert!(list.is_sorted_by(|a, b| a.id < b.id));
    assert!(list.iter().all(|one| u64::from(one.id.get()) < capacity), "an id that is out of range is listed");
    list.into_iter().map(|one| one.id).collect()
}

/// What only backends see.
fn look_at_the_table(path: &Path, ids: &BTreeSet<LockId>) {
    let mut abi = [0; 8];
    File::open(path).and_then(|file| file.read_exact_at(&mut abi, 24)).expect("it has a header");
    let options = TableOptions::default();
    let table = match Table::open(path, Kind::new("shm", u64::from_ne_bytes(abi)), OpenMode::Open, &options) {
        Ok(table) => table,
        Err(error) => panic!("it is open already: {error}"),
    };
    let mut owners = vec![Owner::NONE, Owner::from_word(u64::MAX)];
    table.owned(|_, _, owner| owners.push(owner)).expect("it is open");
    for owner in owners {
        let _ = (table.is_dead(owner), table.is_gone(owner), table.describe(owner));
    }
    assert!(table.processes() >= 1, "this one has it open");
    let _ = (table.is_at_home(), table.count(), table.is_destroyed());
    for id in ids {
        if let Ok(slot) = Table::slot(&table, *id) {
            let _ = (slot.holder(), slot.generation());
        }
    }
    assert_eq!(Arc::strong_count(&table) > 1, table.me().is_ok());
}

/// Takes a lock if it can be had; whoever has got it can give it back and get it again.
fn take(store: &Store, id: LockId, capacity: u64) {
    let lock = match store.retrieve(id) {
        Ok(lock) => lock,
        Err(error) => {
            assert!(u64::from(id.get()) >= capacity || kind(&error) != "OutOfRange", "{error}");
            return;
        }
    };
    let _ = (lock.is_stale(), lock.waiters(), lock.holder());
    for deadline in [Deadline::Now, Deadline::after(Duration::from_micros(300))] {
        if let Ok(mut guard) = lock.lock_by(deadline) {
            // The report of a death stays until then, and a damaged table may have one.
            guard.mark_consistent().expect("it is held");
            let token = guard.token();
            assert_eq!(kind(&lock.try_lock().expect_err("this thread has it")), "AlreadyHeld");
            assert!(lock.holder().expect("it is a lock").is_some());
            guard.unlock().expect("it was held");
            let again = lock.lock().expect("it is free");
            assert!(again.recovered().is_none());
            assert!(again.token() > token || token == u64::MAX, "{} after {token}", again.token());
        }
    }
}

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lock_core::{Deadline, LockId, OpenMode, Store, StoreUrl};
use lock_table::{Kind, LockLine, Owner, Table, TableOptions};

use crate::damage::damage_all;
use crate::kind;
use crate::scratch::Scratch;

/// Checks that a file is refused with a typed error, or is a store whose operations all return.
///
/// If the first byte is below 64, the file has the other bytes, and its length is set to this number of 64 KiB blocks unless it is 0.
/// Otherwise the first byte determines the capacity of a valid store, and each further eight bytes damage it once.
///
/// # Panics
/// If an operation returns a result that violates its contract.
pub fn table(bytes: &[u8]) {
    let scratch = Scratch::new();
    let path = scratch.store();
    let must_be_refused = match bytes.split_first() {
        None => any(&path, &[], 0),
        Some((pages @ 0..64, rest)) => any(&path, rest, *pages),
        Some((capacity, rest)) => damaged(&path, u32::from(*capacity) - 63, rest),
    };
    let opened = open_and_use(&path);
    assert!(!(must_be_refused && opened), "a header with a wrong checksum is accepted");
    // The first use may have changed the file.
    open_and_use(&path);
}

/// Writes a file of these bytes. Returns whether it must be refused.
fn any(path: &Path, bytes: &[u8], pages: u8) -> bool {
    fs::write(path, bytes).expect("the file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("the file's mode can be set");
    if pages > 0 {
        let file = File::options().write(true).open(path).expect("the file exists");
        file.set_len(u64::from(pages) << 16).expect("the file's length can be set");
    }
    !bytes.starts_with(b"LOCKTBL\n")
}

/// Creates a store and damages it. Returns whether it must be refused.
fn damaged(path: &Path, capacity: u32, recipes: &[u8]) -> bool {
    // Some stores are larger than a segment.
    let capacity = if capacity > 100 { capacity * 20 } else { capacity };
    let store = open(path, OpenMode::Create, &format!("?capacity={capacity}")).expect("the store can be created");
    let first = store.allocate("first").expect("an id is free");
    drop(first.lock().expect("the lock is free"));
    if capacity > 2 {
        store.named("first name").map(drop).expect("an id is free");
    }
    if capacity > 1 {
        store.allocate("second").and_then(|lock| lock.free()).expect("an id is free");
    }
    drop((first, store));
    let file = File::options().read(true).write(true).open(path).expect("the file exists");
    damage_all(&file, recipes).expect("the file can be damaged")
}

fn open(path: &Path, mode: OpenMode, options: &str) -> lock_core::Result<Store> {
    let url: StoreUrl = format!("shm:{}{options}", path.display()).parse().expect("the URL is valid");
    Store::with_backend(&lock_shm::BACKEND, &url, mode)
}

/// Opens the file and uses the store. Returns whether it could be opened.
fn open_and_use(path: &Path) -> bool {
    let before = fs::metadata(path).expect("the file exists").len();
    match open(path, OpenMode::Open, "") {
        Ok(store) => {
            use_store(path, &store);
            true
        }
        Err(error) => {
            let kinds = ["NotAStore", "OtherVersion", "OtherAbi", "Corrupt", "Destroyed", "TooManyProcesses", "Limit"];
            assert!(kinds.contains(&kind(&error).as_str()), "{error}");
            assert_eq!(fs::metadata(path).expect("the file exists").len(), before, "a refused open changed the file's length");
            false
        }
    }
}

fn use_store(path: &Path, store: &Store) {
    let capacity = store.capacity().unwrap_or(1 << 32);
    let mut ids: BTreeSet<LockId> = list(store, capacity).into_iter().take(4).collect();
    ids.extend([0, 1, 2, 63, 64, 1024, 2047].map(LockId::new));
    use_table(path, &ids);
    for id in &ids {
        take(store, *id, capacity);
    }
    if let Ok(lock) = store.allocate("found") {
        let id = lock.id();
        assert!(u64::from(id.get()) < capacity);
        assert!(list(store, capacity).contains(&id));
        let again = store.allocate_and_retrieve(id, "").expect_err("the id is allocated");
        assert_eq!(kind(&again), "AlreadyAllocated");
        lock.free().expect("the id is allocated");
        assert!(!list(store, capacity).contains(&id));
    }
    for name in ["first name", "found"] {
        if let Ok(lock) = store.named(name) {
            let id = lock.id();
            assert!(u64::from(id.get()) < capacity);
            assert!(list(store, capacity).contains(&id));
            // The first call may have repaired a group whose mark was damaged, and which has the name.
            let found = [(); 2].map(|()| store.named(name).map(|lock| lock.id()).ok());
            assert!(found[0].is_some() && found[0] == found[1], "a name leads to another id than before: {found:?}");
        }
    }
    let wanted: BTreeSet<_> = ids.iter().copied().filter(|id| u64::from(id.get()) < capacity).take(3).collect();
    if let Ok(done) = store.reconcile(wanted.iter().copied()) {
        assert!(done.allocated.iter().all(|id| wanted.contains(id)) && done.freed.iter().all(|id| !wanted.contains(id)));
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

/// Returns the allocated ids. Checks that they are sorted and in range.
fn list(store: &Store, capacity: u64) -> BTreeSet<LockId> {
    if let Ok(Some(available)) = store.available() {
        assert!(available <= capacity);
    }
    for held in store.held().unwrap_or_default() {
        assert!(u64::from(held.id.get()) < capacity);
    }
    for death in store.iter_deaths().map_while(Result::ok) {
        assert!(u64::from(death.id.get()) < capacity, "{death:?}");
    }
    for waiter in store.waiting().unwrap_or_default().waiters {
        assert!(u64::from(waiter.id.get()) < capacity);
    }
    let list = store.allocated().unwrap_or_default();
    assert!(list.is_sorted_by(|a, b| a.id < b.id));
    assert!(list.iter().all(|one| u64::from(one.id.get()) < capacity), "a listed id is out of range");
    list.into_iter().map(|one| one.id).collect()
}

/// Calls the functions of the table that only backends use.
fn use_table(path: &Path, ids: &BTreeSet<LockId>) {
    let mut abi = [0; 8];
    File::open(path).and_then(|file| file.read_exact_at(&mut abi, 24)).expect("the file has a header");
    let options = TableOptions::default();
    let table = match Table::open(path, Kind::new("shm", u64::from_ne_bytes(abi)), OpenMode::Open, &options) {
        Ok(table) => table,
        Err(error) => panic!("a store that is already open is refused: {error}"),
    };
    let mut owners = vec![Owner::NONE, Owner::from_word(u64::MAX)];
    let record = |_, _: &LockLine, owner| {
        owners.push(owner);
        ControlFlow::Continue(())
    };
    table.owned(0.into(), record).expect("the table is open");
    for owner in owners {
        let _ = (table.is_dead(owner), table.is_gone(owner), table.describe(owner));
    }
    assert!(table.processes() >= 1, "this process is not counted");
    let _ = (table.is_at_home(), table.count(), table.is_destroyed());
    for id in ids {
        if let Ok(slot) = Table::slot(&table, *id) {
            let _ = (slot.holder(), slot.generation());
        }
    }
    assert_eq!(Arc::strong_count(&table) > 1, table.current_owner().is_ok());
}

/// Tries to acquire a lock. If that succeeds, checks that it can be released and acquired again.
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
            // A damaged table may have the report of a death, which is repeated until the lock is marked consistent.
            guard.mark_consistent().expect("the lock is held");
            let token = guard.token();
            assert!(lock.try_lock().expect("an attempt is no error").is_none(), "this thread holds the lock");
            assert!(lock.holder().expect("the holder can be read").is_some());
            guard.unlock().expect("the lock is held");
            let again = lock.lock().expect("the lock is free");
            assert!(again.recovered().is_none());
            assert!(
                again.token() > token || token.is_some_and(|token| token.get() == u64::MAX),
                "{:?} follows {token:?}",
                again.token()
            );
        }
    }
}

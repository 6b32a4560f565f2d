//! podman's lock files, with an owner and a waiter that lock them as podman does.

use std::fs::{self, File};
use std::path::Path;

use lock_core::{ErrorKind, HeldBy, LockId, OpenMode, Result, Store, StoreUrl};
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::pause;

use super::peer::{Child, wait_until};

fn open(directory: &Path, mode: OpenMode) -> Result<Store> {
    Store::with_backend(&lock_podman::FILES, &StoreUrl::builder("podman-file").path(directory).build()?, mode)
}

/// Locks the file for the calling process, as podman does.
fn lock(file: &File) {
    let lock = libc::flock { l_type: libc::F_WRLCK as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file, FcntlArg::F_SETLKW(&lock)).unwrap();
}

#[test]
fn ids_owners_and_waiters_are_listed() {
    let scratch = tempfile::tempdir().unwrap();
    let locks = scratch.path().join("locks");
    fs::create_dir(&locks).unwrap();
    for name in ["0", "7", "10", "07", "+7", "x"] {
        File::create(locks.join(name)).unwrap();
    }
    let file = || File::options().write(true).open(locks.join("7")).unwrap();
    let store = open(scratch.path(), OpenMode::OpenOrCreate).unwrap();
    assert_eq!(store.allocated().unwrap().iter().map(|one| one.id.get()).collect::<Vec<_>>(), [0, 7, 10]);
    assert_eq!((store.held().unwrap(), store.retrieve(7).unwrap().held_by()), (Vec::new(), HeldBy::Free));
    let lock_and_wait = || {
        let file = file();
        lock(&file);
        pause();
    };
    let owner = Child::spawn(lock_and_wait);
    wait_until("the child has the lock", || store.held().unwrap().len() == 1);
    let held = store.held().unwrap().remove(0);
    assert_eq!((held.id, held.holder.map(|holder| holder.pid), held.doubt), (LockId::new(7), Some(owner.pid()), None));
    let waiter = Child::spawn(lock_and_wait);
    let waiting = || store.waiting().unwrap().waiters;
    wait_until("the other child waits", || !waiting().is_empty());
    assert_eq!((waiting()[0].id.get(), waiting()[0].thread.pid), (7, waiter.pid()));
    drop(owner);
    wait_until("the other child has the lock", || {
        store.retrieve(7).unwrap().held_by().holder().is_some_and(|holder| holder.pid == waiter.pid())
    });
    drop(waiter);
    assert_eq!(store.held().unwrap(), []);
}

#[test]
fn everything_else_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(open(scratch.path(), OpenMode::Open).unwrap_err().kind(), ErrorKind::Absent);
    assert_eq!(open(scratch.path(), OpenMode::Create).unwrap_err().kind(), ErrorKind::Unsupported);
    fs::create_dir(scratch.path().join("locks")).unwrap();
    File::create(scratch.path().join("locks/0")).unwrap();
    let store = open(scratch.path(), OpenMode::Open).unwrap();
    let lock = store.retrieve(0).unwrap();
    let refusals = [
        store.allocate("").map(drop),
        store.allocate_and_retrieve(1, "").map(drop),
        store.free(0),
        store.free_all().map(drop),
        store.reconcile([1_u32]).map(drop),
        lock.lock().map(drop),
        lock.try_lock().map(drop),
    ];
    for (number, refusal) in refusals.into_iter().enumerate() {
        assert_eq!(refusal.unwrap_err().kind(), ErrorKind::Unsupported, "{number}");
    }
    assert_eq!(fs::read_dir(scratch.path().join("locks")).unwrap().count(), 1);
    fs::remove_dir_all(scratch.path().join("locks")).unwrap();
    assert_eq!(store.check().unwrap_err().kind(), ErrorKind::Destroyed);
}

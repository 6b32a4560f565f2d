//! Full and read-only file systems, mounted in a private mount namespace.

use std::fs;
use std::path::Path;

use lock_core::{ErrorDetails, ErrorKind, OpenMode, Result, Store};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

pub(crate) fn store_in(scratch: &Path) -> Store {
    open(scratch, OpenMode::OpenOrCreate).unwrap()
}

fn open(scratch: &Path, mode: OpenMode) -> Result<Store> {
    let url = format!("file:{}", scratch.join("store").display());
    Store::with_backend(&lock_file::BACKEND, &url.parse()?, mode)
}

/// Mounts an empty tmpfs that only this process and its children see.
pub(crate) fn mount_privately(at: &Path, options: &str) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
}

/// A directory with a private file system, which is unmounted on drop.
struct PrivateMount(TempDir);

impl PrivateMount {
    fn new(options: &str) -> Self {
        let mount = Self(tempfile::tempdir().unwrap());
        mount_privately(mount.0.path(), options);
        mount
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for PrivateMount {
    fn drop(&mut self) {
        // A mount point cannot be removed.
        umount2(self.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

pub(crate) fn a_lock_without_an_inode_is_an_error_and_other_locks_work() {
    let scratch = PrivateMount::new("nr_inodes=40");
    let store = store_in(scratch.path());
    let usable = store.allocate("").unwrap();
    usable.lock().unwrap().unlock().unwrap();
    let lock = store.allocate("").unwrap();
    let mut count = 0;
    while fs::write(scratch.path().join(count.to_string()), "").is_ok() {
        count += 1;
    }
    let error = lock.lock().unwrap_err();
    assert!(
        matches!(error.details(), ErrorDetails::Limit { limit, .. } if limit.starts_with("no inode is left on the file system of /")),
        "{error}"
    );
    assert!(store.held().unwrap().is_empty(), "the refused lock is held");
    usable.lock().unwrap().unlock().unwrap();
    for number in 0..count {
        fs::remove_file(scratch.path().join(number.to_string())).unwrap();
    }
    lock.lock().unwrap().unlock().unwrap();
}

pub(crate) fn a_read_only_file_system_is_an_error() {
    let scratch = PrivateMount::new("size=16m");
    drop(store_in(scratch.path()));
    mount(None::<&str>, scratch.path(), None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>).unwrap();
    for mode in [OpenMode::Open, OpenMode::OpenOrCreate] {
        let error = open(scratch.path(), mode).unwrap_err();
        assert!(error.to_string().contains("Read-only file system"), "{error}");
    }
    let error = open(&scratch.path().join("absent"), OpenMode::Create).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::System), "{error}");
}

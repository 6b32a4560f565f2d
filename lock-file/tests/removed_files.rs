//! Lock files that another program removes while threads lock them.

use std::fs;
use std::hint::spin_loop;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lock_core::{ErrorKind, Lock, OpenMode, Registry, Store, StoreUrl};

fn create(directory: &Path) -> Store {
    let registry = Registry::default().merge([lock_file::BACKEND]).unwrap();
    Store::open(&registry, StoreUrl::builder("file").path(directory.join("store")), OpenMode::Create).unwrap()
}

/// Lists the lock files of the store.
fn lock_files(directory: &Path) -> Vec<PathBuf> {
    let entries = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries(directory.join("store/locks")).flat_map(entries).flat_map(entries).collect()
}

fn remove(directory: &Path) {
    for file in lock_files(directory) {
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_lock_whose_file_was_removed_stays_held_until_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let store = create(directory.path());
    let lock = store.retrieve(3).unwrap();
    let guard = lock.lock().unwrap();
    remove(directory.path());
    thread::scope(|scope| {
        scope.spawn(|| {
            let other = store.retrieve(3).unwrap();
            assert!(other.try_lock().unwrap().is_none());
            let error = other.try_lock_for(Duration::from_millis(30)).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::TimedOut), "{error}");
            assert_eq!(store.held().unwrap().len(), 1);
        });
    });
    guard.unlock().unwrap();
    let guard = store.retrieve(3).unwrap().lock_owned().unwrap();
    assert!(guard.recovered().is_none());
}

#[test]
fn threads_exclude_each_other_while_the_file_is_removed_repeatedly() {
    let directory = tempfile::tempdir().unwrap();
    let store = create(directory.path());
    let holders = AtomicU32::new(0);
    let acquire_and_release = &|number: u32| {
        // Each handle opens the file that has the name at this moment.
        let lock = store.retrieve(3).unwrap();
        let guard = match number % 3 {
            0 => Some(lock.lock().unwrap()),
            1 => Some(lock.try_lock_for(Duration::from_secs(60)).unwrap()),
            _ => lock.try_lock().unwrap(),
        };
        if let Some(guard) = guard {
            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "another thread holds the lock as well");
            assert!(guard.recovered().is_none());
            thread::yield_now();
            holders.fetch_sub(1, Ordering::SeqCst);
            guard.unlock().unwrap();
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || (n..n + 200).for_each(acquire_and_release))).collect();
        let mut removed = 0;
        while threads.iter().any(|thread| !thread.is_finished()) {
            removed += lock_files(directory.path()).into_iter().filter(|file| fs::remove_file(file).is_ok()).count();
            thread::yield_now();
        }
        assert!(removed > 10, "only {removed} files were removed during the test");
    });
}

/// Two handles have different files open, because the first file was removed. So the kernel grants both locks.
#[test]
fn handles_with_different_files_exclude_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = create(directory.path());
    let opened = || {
        let lock = store.retrieve(3).unwrap();
        lock.lock().unwrap().unlock().unwrap();
        lock
    };
    for _ in 0..1500 {
        let first = opened();
        remove(directory.path());
        let second = opened();
        let (ready, tried) = (AtomicU32::new(0), AtomicU32::new(0));
        let wait_for_both = |counter: &AtomicU32| {
            counter.fetch_add(1, Ordering::SeqCst);
            for round in 0_u32.. {
                match counter.load(Ordering::SeqCst) {
                    2 => break,
                    _ if round % 1000 == 999 => thread::yield_now(),
                    _ => spin_loop(),
                }
            }
        };
        let acquires = |lock: &Lock| {
            wait_for_both(&ready);
            let guard = lock.try_lock().unwrap();
            wait_for_both(&tried);
            guard.is_some()
        };
        let both = thread::scope(|scope| {
            let other = scope.spawn(|| acquires(&first));
            [acquires(&second), other.join().unwrap()]
        });
        assert_ne!(both, [true, true]);
    }
}

#[test]
fn a_waiter_of_lxc_locks_the_new_file_after_the_old_one_was_removed() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::default().merge([lock_file::LXC]).unwrap();
    let url = format!("lxc:{0}/containers?name=c&rundir={0}", directory.path().display());
    let store = Store::open(&registry, &url, OpenMode::Create).unwrap();
    let details = store.details();
    let (_, file) = details.iter().find(|(title, _)| *title == "file").unwrap();
    let first = store.single().unwrap().lock_owned().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| store.single().unwrap().lock_owned().unwrap().unlock().unwrap());
        while !is_waited_for(file) {
            thread::yield_now();
        }
        fs::remove_file(file).unwrap();
        let second = store.single().unwrap();
        let new = second.lock().unwrap();
        first.unlock().unwrap();
        assert!(second.lock().is_err_and(|error| matches!(error.kind(), ErrorKind::AlreadyHeld)));
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished(), "the waiter acquired the lock with the removed file");
        new.unlock().unwrap();
        waiter.join().unwrap();
    });
}

/// Checks whether a thread blocks in the kernel for a lock on the file.
fn is_waited_for(file: &str) -> bool {
    let inode = fs::metadata(file).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains("->") && line.contains(&format!(":{inode} ")))
}

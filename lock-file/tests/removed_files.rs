//! Lock files that are removed, as by a program that cleans directories, while threads lock them.

use std::fs;
use std::hint::spin_loop;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lock_core::{ErrorKind, Lock, OpenMode, Registry, Store};

fn create(directory: &Path) -> Store {
    let registry = Registry::default().merge([lock_file::BACKEND]).unwrap();
    Store::open(&registry, &format!("file:{}/store", directory.display()), OpenMode::Create).unwrap()
}

/// The files of the locks that have been used.
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
            assert!(matches!(error.kind(), ErrorKind::TimedOut { .. }), "{error}");
            assert_eq!(store.held().unwrap().len(), 1);
        });
    });
    guard.unlock().unwrap();
    let guard = store.retrieve(3).unwrap().lock_owned().unwrap();
    assert!(guard.recovered().is_none());
}

#[test]
fn threads_exclude_each_other_while_the_file_is_removed_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = create(directory.path());
    let inside = AtomicU32::new(0);
    let acquire_and_release = &|number: u32| {
        // Each handle opens the file that has the name now.
        let lock = store.retrieve(3).unwrap();
        let guard = match number % 3 {
            0 => Some(lock.lock().unwrap()),
            1 => Some(lock.try_lock_for(Duration::from_secs(60)).unwrap()),
            _ => lock.try_lock().unwrap(),
        };
        if let Some(guard) = guard {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "another thread holds the lock, too");
            assert!(guard.recovered().is_none());
            thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
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
        assert!(removed > 10, "{removed} files were removed while they were used");
    });
}

/// Two handles have two files open, since the first one was removed, so that the kernel grants both locks at a time.
#[test]
fn one_of_two_threads_with_two_files_gets_the_lock() {
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
        let meet = |counter: &AtomicU32| {
            counter.fetch_add(1, Ordering::SeqCst);
            for turn in 0_u32.. {
                match counter.load(Ordering::SeqCst) {
                    2 => break,
                    _ if turn % 1000 == 999 => thread::yield_now(),
                    _ => spin_loop(),
                }
            }
        };
        let got = |lock: &Lock| {
            meet(&ready);
            let guard = lock.try_lock().unwrap();
            meet(&tried);
            guard.is_some()
        };
        let both = thread::scope(|scope| {
            let other = scope.spawn(|| got(&first));
            [got(&second), other.join().unwrap()]
        });
        assert_ne!(both, [true, true]);
    }
}

#[test]
fn a_thread_that_waited_for_a_removed_file_of_lxc_locks_the_new_one() {
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
        assert!(second.try_lock().is_err_and(|error| matches!(error.kind(), ErrorKind::AlreadyHeld)));
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished(), "the waiter has the lock of a file that was removed");
        new.unlock().unwrap();
        waiter.join().unwrap();
    });
}

/// Whether a thread sleeps in the kernel for a lock on the file.
fn is_waited_for(file: &str) -> bool {
    let inode = fs::metadata(file).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains("->") && line.contains(&format!(":{inode} ")))
}

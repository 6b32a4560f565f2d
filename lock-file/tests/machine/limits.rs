//! Limits on open files and on inotify.

use std::fs::File;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use lock_core::{ErrorDetails, ErrorKind, Lock};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::file_systems::store_in;

pub(crate) const MANY: u64 = 10_000;

pub(crate) fn ten_thousand_locks_are_held_at_once() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let locks: Vec<_> = (0..MANY).map(|_| store.allocate("").unwrap()).collect();
    let one_more = store.allocate("one more").unwrap();
    let guards: Vec<_> = locks.iter().map(|lock| lock.lock().unwrap()).collect();
    assert_eq!(store.held().unwrap().len() as u64, MANY);
    one_more.lock().unwrap().unlock().unwrap();
    for lock in locks.iter().step_by(997) {
        // In another thread, because an acquisition by the owner is an error.
        let busy = thread::scope(|scope| scope.spawn(|| lock.try_lock().unwrap().is_none()).join().unwrap());
        assert!(busy, "the held lock {lock:?} was granted to another thread");
    }
    drop(guards);
    assert!(store.held().unwrap().is_empty());
    assert!(locks.iter().all(|lock| lock.try_lock().unwrap().is_some()));
}

pub(crate) fn a_limit_on_open_files_is_an_error_and_leaves_the_lock_free() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 40, hard).unwrap();
    let locks: Vec<_> = (0..100).map(|_| store.allocate("").unwrap()).collect();
    let mut guards = Vec::new();
    let (refused, error) = loop {
        let lock = &locks[guards.len()];
        match lock.lock() {
            Ok(guard) => guards.push(guard),
            Err(error) => break (lock, error),
        }
    };
    let ErrorDetails::Limit { limit, .. } = error.details() else { panic!("{error}") };
    assert!(limit.contains("RLIMIT_NOFILE"), "{error}");
    assert!(guards.len() > 20, "only {} locks fit into 40 files", guards.len());
    assert_eq!(store.held().unwrap().len(), guards.len(), "the refused lock is held");
    assert!(matches!(refused.try_lock().unwrap_err().kind(), ErrorKind::Limit));
    assert!(matches!(refused.try_lock_for(Duration::from_millis(1)).unwrap_err().kind(), ErrorKind::Limit));
    // A handle that has its file open can still lock it.
    guards.pop().unwrap().unlock().unwrap();
    locks[guards.len()].lock().unwrap().unlock().unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    refused.lock().unwrap().unlock().unwrap();
}

pub(crate) fn more_handles_than_descriptors_work() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let locks: Vec<_> = (0..1000).map(|_| store.allocate("").unwrap()).collect();
    for _ in 0..3 {
        for lock in &locks {
            lock.lock().unwrap().unlock().unwrap();
        }
    }
    // The handles of held locks keep their descriptors while other handles open files.
    let guards: Vec<_> = locks[..20].iter().map(|lock| lock.lock().unwrap()).collect();
    for lock in &locks[20..] {
        assert!(lock.try_lock().unwrap().is_some(), "a free lock was busy");
    }
    let all_busy = || locks[..20].iter().all(|lock| lock.try_lock().unwrap().is_none());
    assert!(thread::scope(|scope| scope.spawn(all_busy).join().unwrap()), "a held lock was granted to another thread");
    guards.into_iter().for_each(|guard| guard.unlock().unwrap());
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 50, "{open} descriptors are open; the limit is 64");
}

/// The releasing thread cannot notify waiters, and the waiter cannot watch the file, because no descriptor is left.
pub(crate) fn a_waiter_polls_without_inotify() {
    let scratch = tempfile::tempdir().unwrap();
    let store = store_in(scratch.path());
    let lock = store.allocate("").unwrap();
    let other: Lock = store.retrieve(lock.id()).unwrap();
    other.lock().unwrap().unlock().unwrap();
    let guard = lock.lock().unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let _remaining: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    thread::scope(|scope| {
        let (ready, is_ready) = channel();
        let waiter = scope.spawn(move || {
            other.try_lock_for(Duration::from_millis(30)).expect_err("the lock is held");
            ready.send(()).unwrap();
            other.try_lock_for(Duration::from_secs(60)).unwrap().unlock().unwrap();
        });
        is_ready.recv().unwrap();
        guard.unlock().unwrap();
        waiter.join().unwrap();
    });
}

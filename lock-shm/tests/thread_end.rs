//! Tests of locks in thread-local values, which are destroyed when the thread ends.

use std::cell::RefCell;
use std::thread;

use lock_core::{Guard, Lock, OpenMode, Registry, Store};

/// More locks than a thread links into its robust list.
const LOCKS: usize = 1100;

/// Guards that are dropped when the thread ends, and a lock that the destructor acquires.
struct Held {
    guards: RefCell<Vec<Guard<'static>>>,
    free: RefCell<Option<Lock>>,
}

thread_local! {
    static HELD: Held = const { Held { guards: RefCell::new(Vec::new()), free: RefCell::new(None) } };
}

impl Drop for Held {
    fn drop(&mut self) {
        let free = self.free.take().unwrap();
        let guard = free.lock().unwrap();
        for lock in [self.guards.borrow().last().unwrap().lock(), guard.lock()] {
            let is_held = thread::scope(|scope| scope.spawn(|| lock.try_lock().unwrap().is_none()).join().unwrap());
            assert!(is_held, "another thread acquired a held lock");
        }
    }
}

fn locks() -> Vec<Lock> {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let url = format!("shm:{}/store", directory.path().display());
    let registry = Registry::default().merge([lock_shm::BACKEND]).unwrap();
    let store = Store::open(&registry, &url, OpenMode::Create).unwrap();
    (0..LOCKS).map(|number| store.allocate(number.to_string()).unwrap()).collect()
}

/// Runs a thread and joins it. A scope alone does not wait for the destructors of thread-local values.
fn run_thread(body: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(body).join().unwrap());
}

#[test]
fn guards_in_thread_local_values_are_released_when_the_thread_ends() {
    let locks = locks();
    run_thread(|| {
        // First use of `HELD`: its destructor runs after those of thread-local values that are first used later.
        HELD.with(|held| {
            let (free, others) = locks.split_last().unwrap();
            held.guards.borrow_mut().extend(others.iter().map(|lock| lock.lock_owned().unwrap()));
            held.free.replace(Some(free.clone()));
        });
    });
    for lock in &locks {
        let guard = lock.try_lock().unwrap().expect("the lock was released");
        assert_eq!(guard.recovered(), None);
    }
}

#[test]
fn locks_that_a_thread_leaves_behind_are_recovered() {
    let locks = locks();
    run_thread(|| locks.iter().for_each(|lock| std::mem::forget(lock.lock().unwrap())));
    for lock in &locks {
        let guard = lock.try_lock().unwrap().expect("the owner's thread has ended");
        assert!(guard.recovered().is_some());
    }
}

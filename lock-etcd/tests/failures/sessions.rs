//! Leases that end early, and queues that others change.

use std::thread;
use std::time::Duration;

use lock_core::{Cause, ErrorKind};

use super::answers::{lease_of, queue};
use crate::server::{self, open, wait_until};

pub(crate) fn a_revoked_lease_loses_the_lock() {
    let server = server::start();
    let (one, other) = (open(server.address(), "x"), open(server.address(), "x?ttl=11s"));
    let lock = one.allocate("a").unwrap();
    let second = other.retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let next = second.lock().unwrap();
            let death = next.recovered().cloned().expect("a report");
            (next.token(), death)
        });
        wait_until("a waiter", || lock.waiters() == Some(1));
        server::etcdctl(&server, &["lease", "revoke", &lease_of(&server, &one, 0)]);
        let (token, death) = waiter.join().unwrap();
        assert!(token > guard.token());
        assert_eq!(death.cause, Cause::SessionEnded);
        let holder = death.holder.unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(holder.host.is_some());
    });
    assert_eq!(guard.check().unwrap_err().kind(), ErrorKind::Lost);
    drop(guard);
    assert!(lock.lock().unwrap().recovered().is_some(), "the next owner did not mark the data consistent");
}

pub(crate) fn a_waiter_with_a_revoked_lease_queues_again() {
    let server = server::start();
    let (one, other) = (open(server.address(), "x"), open(server.address(), "x?ttl=3s"));
    let lock = one.allocate("a").unwrap();
    let second = other.retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| second.lock().map(|guard| guard.recovered().cloned()));
        wait_until("a waiter", || lock.waiters() == Some(1));
        let keys = server::etcdctl(
            &server,
            &["get", "--prefix", "--keys-only", "--sort-by", "CREATE", "--order", "DESCEND", &queue(&one, 0)],
        );
        let key = keys.lines().next().unwrap().to_owned();
        let lease = key.rsplit('/').next().unwrap().split('-').next().unwrap();
        server::etcdctl(&server, &["lease", "revoke", lease]);
        wait_until("the waiter has another place", || {
            let keys = server::etcdctl(&server, &["get", "--prefix", "--keys-only", &queue(&one, 0)]);
            lock.waiters() == Some(1) && !keys.contains(&key)
        });
        guard.unlock().unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), None);
    });
}

pub(crate) fn a_late_release_does_not_release_a_newer_owner() {
    let server = server::start();
    let (one, other) = (open(server.address(), "x?ttl=60s"), open(server.address(), "x"));
    let lock = one.allocate("a").unwrap();
    let second = other.retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    server::etcdctl(&server, &["lease", "revoke", &lease_of(&server, &one, 0)]);
    let next = second.lock().unwrap();
    assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::Lost);
    next.check().unwrap();
    assert!(lock.try_lock().unwrap().is_none());
    // The same session holds the lock again.
    next.unlock().unwrap();
    let guard = lock.lock().unwrap();
    guard.check().unwrap();
    guard.unlock().unwrap();
}

pub(crate) fn a_key_without_a_lease_is_named_and_listed() {
    let server = server::start();
    let store = open(server.address(), "x");
    let lock = store.allocate("a").unwrap();
    let key = format!("{}mine", queue(&store, 0));
    server::etcdctl(&server, &["put", &key, "1"]);
    assert!(lock.try_lock().unwrap().is_none());
    let error = lock.try_lock_for(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains(&format!("etcdctl del {key}")), "{error}");
    let held = store.held().unwrap();
    assert_eq!((held.len(), held[0].id, held[0].holder.is_none(), held[0].waiters), (1, lock.id(), true, Some(0)));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().map(drop));
        wait_until("a waiter", || store.held().unwrap()[0].waiters == Some(1));
        server::etcdctl(&server, &["del", &key]);
        waiter.join().unwrap().unwrap();
    });
}

pub(crate) fn waiters_are_served_in_order() {
    let server = server::start();
    let store = open(server.address(), "x");
    let lock = store.allocate("a").unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        for number in 0..6 {
            let (lock, order) = (&lock, &order);
            scope.spawn(move || {
                let _guard = lock.lock().unwrap();
                order.lock().unwrap().push(number);
            });
            wait_until("a waiter more", || lock.waiters() == Some(number + 1));
        }
        guard.unlock().unwrap();
    });
    assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4, 5]);
}

pub(crate) fn a_waiter_that_gives_up_leaves_the_queue() {
    let server = server::start();
    let store = open(server.address(), "x");
    let lock = store.allocate("a").unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| lock.try_lock_for(Duration::from_millis(300)).map(drop));
        wait_until("the first waiter", || lock.waiters() == Some(1));
        let second = scope.spawn(|| lock.lock().map(drop));
        wait_until("the second waiter", || lock.waiters() == Some(2));
        assert_eq!(first.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(lock.waiters(), Some(1));
        guard.unlock().unwrap();
        second.join().unwrap().unwrap();
    });
    assert!(store.held().unwrap().is_empty());
}

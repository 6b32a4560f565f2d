//! Requests that are executed, and whose answers get lost. The client repeats them.

use std::time::Duration;

use lock_core::{Cause, ErrorKind, OpenMode, Registry, Store};

use lock_servers::Etcd;

use crate::server::proxy::Proxy;
use crate::server::{self, open, wait_until};

const TXN: &str = "/kv/txn";

/// Starts a server, and opens a store directly and through a proxy.
fn start() -> (Etcd, Proxy, Store, Store) {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let (direct, proxied) = (open(server.address(), "x"), open(proxy.address(), "x"));
    (server, proxy, direct, proxied)
}

pub(crate) fn a_lost_answer_does_not_acquire_twice() {
    let (_server, proxy, direct, proxied) = start();
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    // Starts the session.
    through.lock().unwrap().unlock().unwrap();
    let mut last = 0;
    for wait in [None, Some(Duration::from_secs(5))] {
        proxy.lose(TXN, 1);
        let guard = match wait {
            None => through.try_lock().unwrap().expect("the lock is free"),
            Some(wait) => through.try_lock_for(wait).unwrap(),
        };
        assert!(proxy.has_lost() && guard.recovered().is_none());
        guard.check().unwrap();
        let token = guard.token().unwrap().get();
        assert!(token > last);
        last = token;
        assert!(lock.try_lock().unwrap().is_none());
        assert_eq!(lock.waiters(), Some(0));
        guard.unlock().unwrap();
        assert!(lock.try_lock().unwrap().unwrap().recovered().is_none());
    }
}

pub(crate) fn a_lost_answer_does_not_lose_a_place() {
    let (_server, proxy, direct, proxied) = start();
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    through.lock().unwrap().unlock().unwrap();
    let guard = lock.lock().unwrap();
    proxy.lose(TXN, 1);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| through.lock().unwrap().token());
        wait_until("the waiter queues", || proxy.has_lost() && lock.waiters() == Some(1));
        // Loses the answer to the grant.
        wait_until("it watches", || proxy.take_requests().iter().any(|path| path.contains("watch")));
        proxy.lose(TXN, 1);
        let token = guard.token();
        guard.unlock().unwrap();
        assert!(waiter.join().unwrap() > token);
    });
    let guard = lock.try_lock().unwrap().expect("the lock is free");
    assert!(guard.recovered().is_none());
}

pub(crate) fn a_lost_answer_keeps_the_report_of_a_death() {
    let (server, proxy, direct, proxied) = start();
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    through.lock().unwrap().unlock().unwrap();
    for wait in [Duration::ZERO, Duration::from_secs(5)] {
        let guard = lock.lock().unwrap();
        server::etcdctl(&server, &["lease", "revoke", &lease_of(&server, &direct, lock.id().get())]);
        // The transaction that finds the death, and the one that acquires the lock.
        proxy.lose(TXN, 2);
        let mut next = through.try_lock_for(wait).unwrap();
        assert!(proxy.has_lost());
        assert_eq!(next.recovered().expect("a report").cause, Cause::SessionEnded);
        next.mark_consistent().unwrap();
        next.unlock().unwrap();
        assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::Lost);
    }
}

/// Returns the lease of the oldest place in the queue of a lock.
pub(crate) fn lease_of(server: &Etcd, store: &Store, id: u32) -> String {
    let keys = server::etcdctl(server, &["get", "--prefix", "--keys-only", "--sort-by", "CREATE", &queue(store, id)]);
    let key = keys.lines().next().expect("a place in the queue");
    let name = key.rsplit('/').next().unwrap();
    name.split('-').next().unwrap().to_owned()
}

/// Returns the prefix of the queue of a lock.
pub(crate) fn queue(store: &Store, id: u32) -> String {
    format!("/x/{:032x}/q/{id:08x}/", store.id().get())
}

pub(crate) fn a_lost_answer_does_not_fail_a_release() {
    let (_server, proxy, direct, proxied) = start();
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    let guard = through.lock().unwrap();
    proxy.lose(TXN, 1);
    guard.unlock().unwrap();
    assert!(proxy.has_lost());
    assert!(lock.try_lock().unwrap().expect("it was released").recovered().is_none());
}

pub(crate) fn a_lost_answer_does_not_allocate_twice() {
    let (_server, proxy, direct, proxied) = start();
    let count = || direct.allocated().unwrap().len();
    for number in 1..=3 {
        // An allocation is a read and a write.
        proxy.lose(TXN, number);
        let _ = proxied.allocate("a").unwrap();
        assert!(proxy.has_lost());
        assert_eq!(count(), number);
    }
    proxy.lose(TXN, 1);
    let _ = proxied.allocate_and_retrieve(100, "b").unwrap();
    assert_eq!(count(), 4);
    for answers in 1..=2 {
        proxy.lose(TXN, answers);
        assert_eq!(proxied.named(format!("name {answers}")).unwrap().id(), direct.named(format!("name {answers}")).unwrap().id());
    }
    assert_eq!(count(), 6);
    proxy.lose(TXN, 2);
    proxied.free(100).unwrap();
    assert_eq!(count(), 5);
    assert_eq!(proxied.free(100).unwrap_err().kind(), ErrorKind::NotAllocated);
    proxy.lose(TXN, 3);
    let done = proxied.reconcile(200_u32..210).unwrap();
    assert_eq!((done.freed.len(), done.allocated.len()), (5, 10));
    assert!(direct.allocated().unwrap().iter().map(|allocation| allocation.id.get()).eq(200..210));
    proxy.lose(TXN, 4);
    assert_eq!(proxied.free_all().unwrap(), 10);
    assert_eq!(count(), 0);
}

pub(crate) fn a_lost_answer_does_not_fail_creating_and_destroying() {
    let (_server, proxy, _direct, proxied) = start();
    let registry = Registry::default().merge([lock_etcd::BACKEND]).unwrap();
    proxy.lose(TXN, 1);
    let url = format!("etcd://{}/new", proxy.address());
    Store::open(&registry, url.as_str(), OpenMode::Create).unwrap();
    assert!(proxy.has_lost());
    assert_eq!(Store::open(&registry, url.as_str(), OpenMode::Create).unwrap_err().kind(), ErrorKind::Exists);
    proxy.lose(TXN, 1);
    proxied.destroy().unwrap();
    assert!(proxy.has_lost());
    assert_eq!(proxied.check().unwrap_err().kind(), ErrorKind::Destroyed);
    assert_eq!(proxied.destroy().unwrap_err().kind(), ErrorKind::Destroyed);
}

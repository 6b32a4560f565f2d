//! The requests of each operation, as a proxy counts them. A transaction with a change is a write of the cluster.

mod server;

use std::process::ExitCode;

use lock_core::{Label, Store};

use crate::server::proxy::Proxy;
use crate::server::{open, wait_until};

const TESTS: &[(&str, fn())] = &[
    ("each_operation_has_its_number_of_requests", each_operation_has_its_number_of_requests),
    ("a_waiter_sends_nothing_while_it_waits", a_waiter_sends_nothing_while_it_waits),
    ("an_allocation_costs_the_same_in_a_full_and_an_empty_store", an_allocation_costs_the_same_in_a_full_and_an_empty_store),
];

fn main() -> ExitCode {
    server::run(TESTS)
}

/// Asserts the requests of an operation.
fn costs<T>(proxy: &Proxy, what: &str, requests: &[&str], operation: impl FnOnce() -> T) -> T {
    proxy.take_requests();
    let result = operation();
    let sent = proxy.take_requests();
    let sent: Vec<_> = sent.iter().map(|path| path.trim_start_matches("/v3/")).collect();
    assert_eq!(sent, requests, "{what}");
    println!("{what:<45} {}", requests.join(" "));
    result
}

fn each_operation_has_its_number_of_requests() {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let other = open(server.address(), "x");
    let store = costs(&proxy, "open", &["/version", "kv/txn"], || open(proxy.address(), "x"));
    // One reads free ids, one is the write.
    let lock = costs(&proxy, "allocate", &["kv/txn", "kv/txn"], || store.allocate("a").unwrap());
    let _ = costs(&proxy, "retrieve", &["kv/txn"], || store.retrieve(lock.id()).unwrap());
    let guard = costs(&proxy, "the first lock of a process", &["lease/grant", "kv/txn"], || lock.lock().unwrap());
    costs(&proxy, "unlock", &["kv/txn"], || guard.unlock().unwrap());
    for _ in 0..2 {
        let guard = costs(&proxy, "lock", &["kv/txn"], || lock.lock().unwrap());
        costs(&proxy, "check", &["kv/range"], || guard.check().unwrap());
        costs(&proxy, "valid for", &[], || guard.valid_for().unwrap());
        costs(&proxy, "unlock", &["kv/txn"], || guard.unlock().unwrap());
        let guard = costs(&proxy, "try_lock of a free lock", &["kv/txn"], || lock.try_lock().unwrap().unwrap());
        drop(guard);
        let send = costs(&proxy, "lock_send", &["kv/txn"], || lock.lock_send().unwrap());
        drop(send);
    }
    let second = other.retrieve(lock.id()).unwrap();
    let guard = second.lock().unwrap();
    costs(&proxy, "try_lock of a held lock", &["kv/txn"], || assert!(lock.try_lock().unwrap().is_none()));
    costs(&proxy, "holder", &["kv/txn"], || lock.holder().unwrap());
    costs(&proxy, "waiters", &["kv/txn"], || lock.waiters());
    guard.unlock().unwrap();
    let _ = costs(&proxy, "named, new", &["kv/txn", "kv/txn", "kv/txn"], || store.named("name").unwrap());
    let named = costs(&proxy, "named", &["kv/txn", "kv/txn"], || store.named("name").unwrap());
    costs(&proxy, "is_stale", &["kv/txn"], || named.is_stale());
    costs(&proxy, "free", &["kv/txn", "kv/txn"], || named.free().unwrap());
    costs(&proxy, "available", &["kv/txn"], || store.available().unwrap());
}

fn a_waiter_sends_nothing_while_it_waits() {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let (direct, proxied) = (open(server.address(), "x?ttl=60s"), open(proxy.address(), "x?ttl=60s"));
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    through.lock().unwrap().unlock().unwrap();
    let guard = lock.lock().unwrap();
    proxy.take_requests();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| drop(through.lock().unwrap()));
        wait_until("the waiter has looked at the queue", || proxy.peek_requests() == 3);
        // Longer than a waiter sleeps.
        std::thread::sleep(std::time::Duration::from_millis(1200));
        assert_eq!(proxy.take_requests(), ["/v3/kv/txn", "/v3/watch", "/v3/kv/txn"]);
        guard.unlock().unwrap();
        waiter.join().unwrap();
        // The grant and the release.
        assert_eq!(proxy.take_requests(), ["/v3/kv/txn", "/v3/kv/txn"]);
    });
}

fn an_allocation_costs_the_same_in_a_full_and_an_empty_store() {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let allocate_and_free = |store: &Store, what: &str| {
        let lock = costs(&proxy, what, &["kv/txn", "kv/txn"], || store.allocate("a").unwrap());
        costs(&proxy, what, &["kv/txn", "kv/txn"], || lock.free().unwrap());
    };
    let store = open(proxy.address(), "x?capacity=3001");
    allocate_and_free(&store, "allocate and free in an empty store");
    allocate_and_free(&store, "with one freed id");
    store.reconcile((0..3000_u32).map(|id| (id, Label::default()))).unwrap();
    allocate_and_free(&store, "with one free id");
    // A process that opens the store knows nothing of it.
    let store = open(proxy.address(), "x");
    allocate_and_free(&store, "with one free id, in another process");
    store.reconcile((0..10_u32).map(|id| (id, Label::default()))).unwrap();
    let store = open(proxy.address(), "x");
    allocate_and_free(&store, "with many freed ids");
}

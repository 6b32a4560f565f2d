//! Servers that do not answer, and connections that are cut.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::ErrorKind;
use nix::sys::signal::Signal;

use lock_servers::Etcd;

use crate::server::proxy::Proxy;
use crate::server::{self, open, wait_until};

pub(crate) fn a_restart_keeps_owners_and_waiters() {
    let mut server = server::start();
    // Long enough for the restart on a slow machine.
    let (one, other) = (open(server.address(), "x?ttl=60s"), open(server.address(), "x?ttl=61s"));
    let lock = one.allocate("a").unwrap();
    let second = other.retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| second.lock().unwrap().token());
        wait_until("a waiter", || lock.waiters() == Some(1));
        server.kill();
        server.start_again();
        guard.check().unwrap();
        assert_eq!(lock.waiters(), Some(1));
        let token = guard.token();
        guard.unlock().unwrap();
        assert!(waiter.join().unwrap() > token);
    });
}

pub(crate) fn a_cluster_goes_on_without_a_member() {
    let mut servers = Etcd::start_cluster().unwrap();
    let addresses: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    let rest = "x?ttl=60s&timeout=30s";
    let (one, other) = (open(addresses.join(","), rest), open(&addresses[2], rest));
    let lock = one.allocate("a").unwrap();
    let second = other.retrieve(lock.id()).unwrap();
    let mut last = None;
    let mut exclude = || {
        let guard = lock.lock().unwrap();
        assert!(second.try_lock().unwrap().is_none());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| second.lock().unwrap().token());
            wait_until("a waiter", || lock.waiters() == Some(1));
            assert!(guard.token() > last);
            last = guard.token();
            guard.unlock().unwrap();
            let token = waiter.join().unwrap();
            assert!(token > last);
            last = token;
        });
    };
    exclude();
    servers[0].kill();
    exclude();
    servers[0].start_again();
    servers[1].kill();
    exclude();
}

pub(crate) fn an_owner_without_a_server_is_told_in_time() {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let (direct, proxied) = (open(server.address(), "x?ttl=2s"), open(proxy.address(), "x?ttl=2s&timeout=500ms"));
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    let guard = through.lock().unwrap();
    assert!(guard.valid_for().unwrap().unwrap() <= Duration::from_millis(1600));
    let is_told = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_told);
    guard.on_lost(move || told.store(true, SeqCst)).unwrap();
    proxy.cut();
    let mut next = lock.lock().unwrap();
    assert!(is_told.load(SeqCst), "another owner has the lock, and the first one was not told");
    assert!(next.recovered().is_some() && next.token() > guard.token());
    assert_eq!(guard.valid_for().unwrap_err().kind(), ErrorKind::Lost);
    proxy.restore();
    assert_eq!(guard.check().unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::Lost);
    next.check().unwrap();
    next.mark_consistent().unwrap();
    next.unlock().unwrap();
    through.lock().unwrap().unlock().unwrap();
}

pub(crate) fn a_release_without_a_server_is_repeated() {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let (direct, proxied) = (open(server.address(), "x"), open(proxy.address(), "x?ttl=60s&timeout=200ms"));
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    let guard = through.lock().unwrap();
    proxy.cut();
    let error = guard.unlock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    proxy.restore();
    let begin = Instant::now();
    let next = lock.lock().unwrap();
    assert!(next.recovered().is_none(), "the release became a death");
    assert!(begin.elapsed() < Duration::from_secs(50), "the session ended before the release was repeated");
}

/// A waiter that cannot reach the server cannot leave the queue.
pub(crate) fn an_abandoned_place_is_removed() {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let (direct, proxied) = (open(server.address(), "x"), open(proxy.address(), "x?ttl=9s&timeout=200ms"));
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| through.try_lock_for(Duration::from_millis(1500)).map(drop));
        wait_until("a waiter", || lock.waiters() == Some(1));
        proxy.cut();
        let error = waiter.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    });
    assert_eq!(lock.waiters(), Some(1));
    proxy.restore();
    wait_until("the place is removed", || lock.waiters() == Some(0));
    guard.unlock().unwrap();
    assert!(lock.try_lock().unwrap().is_some());
}

pub(crate) fn a_silent_server_ends_a_request_in_time() {
    let server = server::start();
    let store = open(server.address(), "x?timeout=300ms");
    let lock = store.allocate("a").unwrap();
    server.signal(Signal::SIGSTOP);
    let begin = Instant::now();
    let error = lock.try_lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    server.signal(Signal::SIGCONT);
    wait_until("the server answers", || store.check().is_ok());
    lock.lock().unwrap().unlock().unwrap();
}

pub(crate) fn a_waiter_survives_cut_connections() {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let (direct, proxied) = (open(server.address(), "x?ttl=60s"), open(proxy.address(), "x?ttl=60s"));
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    let key = |direct| server::etcdctl(&server, &["get", "--prefix", "--keys-only", &super::answers::queue(direct, 0)]);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| through.lock().map(drop));
        wait_until("a waiter", || lock.waiters() == Some(1));
        let before = key(&direct);
        for _ in 0..3 {
            wait_until("it watches", || proxy.take_requests().iter().any(|path| path.contains("watch")));
            proxy.cut_once();
        }
        assert_eq!(key(&direct), before, "the waiter has lost its place");
        guard.unlock().unwrap();
        waiter.join().unwrap().unwrap();
    });
}

pub(crate) fn a_compaction_does_not_disturb_a_waiter() {
    let server = server::start();
    let proxy = Proxy::start(server.address().to_string());
    let (direct, proxied) = (open(server.address(), "x?ttl=60s"), open(proxy.address(), "x?ttl=60s&timeout=30s"));
    let lock = direct.allocate("a").unwrap();
    let through = proxied.retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    thread::scope(|scope| {
        proxy.hold("watch");
        let waiter = scope.spawn(|| through.lock().map(drop));
        wait_until("it is about to watch", || proxy.held() > 0);
        // The history from which it watches is discarded.
        guard.unlock().unwrap();
        for _ in 0..3 {
            let _ = direct.allocate("b").unwrap();
        }
        let status = server::etcdctl(&server, &["get", "/x/store", "-w", "json"]);
        let revision = status.split("\"revision\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
        server::etcdctl(&server, &["compact", &revision]);
        proxy.let_pass();
        waiter.join().unwrap().unwrap();
    });
}

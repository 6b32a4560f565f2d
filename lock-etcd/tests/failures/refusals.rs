use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use lock_core::ErrorKind;

use lock_servers::Etcd;

use super::certificates::{certificate, file};
use crate::server::{self, open, try_open};

pub(crate) fn an_address_without_a_server_is_unreachable() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for address in ["no-such-host.invalid", unused.as_str()] {
        let error = try_open(address, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains(address), "{error}");
    }
}

/// Answers each request with this text.
fn impostor(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    address
}

pub(crate) fn a_server_that_is_not_etcd_is_unsupported() {
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "220 mail\r\n"]
    {
        let error = try_open(impostor(answer), "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{answer}: {error}");
    }
}

pub(crate) fn an_old_server_is_unsupported() {
    let old = "HTTP/1.1 200 OK\r\nContent-Length: 23\r\n\r\n{\"etcdserver\":\"3.3.27\"}";
    let error = try_open(impostor(old), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("3.3.27") && error.to_string().contains("3.4"), "{error}");
}

/// Adds the users root and weak, whose passwords are their names, and requires users.
fn require_users(server: &Etcd) {
    for user in ["root", "weak"] {
        server::etcdctl(server, &["user", "add", &format!("{user}:{user}")]);
    }
    server::etcdctl(server, &["role", "add", "root"]);
    server::etcdctl(server, &["user", "grant-role", "root", "root"]);
    server::etcdctl(server, &["auth", "enable"]);
}

pub(crate) fn wrong_credentials_are_denied() {
    let server = server::start();
    require_users(&server);
    let file = |name: &str, password: &str| {
        let path = server.directory().join(name);
        fs::write(&path, format!("{password}\n")).unwrap();
        path.display().to_string()
    };
    let (root, weak) = (file("root", "root"), file("weak", "weak"));
    let refused = [
        ("x".to_owned(), "user=NAME"),
        (format!("x?user=root&password-file={weak}"), "password"),
        (format!("x?user=nobody&password-file={weak}"), "password"),
        (format!("x?user=weak&password-file={weak}"), "grant"),
    ];
    for (rest, advice) in refused {
        let error = try_open(server.address(), &rest).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{rest}: {error}");
        assert!(error.to_string().contains(advice), "{rest}: {error}");
    }
    let store = open(server.address(), &format!("x?user=root&password-file={root}"));
    let lock = store.allocate("a").unwrap();
    let guard = lock.lock().unwrap();
    assert!(
        open(server.address(), &format!("x?user=root&password-file={root}"))
            .retrieve(lock.id())
            .unwrap()
            .try_lock()
            .unwrap()
            .is_none()
    );
    guard.unlock().unwrap();
}

/// A server forgets its tokens when it starts again.
pub(crate) fn an_expired_token_is_requested_again() {
    let mut server = server::start();
    require_users(&server);
    let file = server.directory().join("root");
    fs::write(&file, "root").unwrap();
    let store = open(server.address(), &format!("x?user=root&password-file={}", file.display()));
    let lock = store.allocate("a").unwrap();
    server.kill();
    server.start_again();
    lock.lock().unwrap().unlock().unwrap();
}

pub(crate) fn a_server_with_tls_tells_so() {
    let own = certificate();
    let server = server::start_with(&["--cert-file", &file(own.path(), "cert"), "--key-file", &file(own.path(), "key")]);
    let error = try_open(server.address(), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("tls=on"), "{error}");
}

pub(crate) fn a_full_database_is_a_limit_and_releases_work() {
    let server = server::start_with(&["--quota-backend-bytes", "300000"]);
    let store = open(server.address(), "x");
    let (held, other) = (store.allocate("held").unwrap(), store.allocate("other").unwrap());
    let guard = held.lock().unwrap();
    let value = "x".repeat(60_000);
    let is_full = |_: &u32| server.etcdctl(&["put", "filler", &value]).is_err();
    assert!((0..100).any(|number| is_full(&number)), "the database does not become full");
    for error in [store.allocate("more").unwrap_err(), other.try_lock().unwrap_err(), other.lock().unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains("alarm disarm"), "{error}");
    }
    guard.check().unwrap();
    guard.unlock().unwrap();
    assert!(store.held().unwrap().is_empty());
    store.free(held.id()).unwrap_err();
}

pub(crate) fn a_key_that_is_no_store_is_refused() {
    let server = server::start();
    server::etcdctl(&server, &["put", "/x/store", "something"]);
    let error = try_open(server.address(), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
    server::etcdctl(&server, &["put", "/x/store", r#"{"lock_etcd":99}"#]);
    let error = try_open(server.address(), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OtherVersion, "{error}");
    assert!(error.to_string().contains("99"), "{error}");
    server::etcdctl(&server, &["put", "/x/store", r#"{"lock_etcd":1}"#]);
    let error = try_open(server.address(), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

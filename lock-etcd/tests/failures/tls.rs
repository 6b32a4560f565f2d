use std::fs;

use lock_core::ErrorKind;

use super::certificates::{certificate, file};
use crate::server::{self, open, try_open, wait_until};

pub(crate) fn a_store_is_used_over_tls() {
    let own = certificate();
    let (cert, key) = (file(own.path(), "cert"), file(own.path(), "key"));
    let server = server::start_with(&["--cert-file", &cert, "--key-file", &key]);
    let rest = format!("x?tls=on&ca={cert}");
    let (one, other) = (open(server.address(), &rest), open(server.address(), &format!("{rest}&ttl=11s")));
    let lock = one.allocate("a").unwrap();
    let second = other.retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    assert!(second.try_lock().unwrap().is_none());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| second.lock().map(drop));
        wait_until("a waiter", || lock.waiters() == Some(1));
        guard.unlock().unwrap();
        waiter.join().unwrap().unwrap();
    });
}

pub(crate) fn a_client_shows_its_certificate() {
    let (own, client) = (certificate(), certificate());
    let (cert, key) = (file(own.path(), "cert"), file(own.path(), "key"));
    let shown = file(client.path(), "cert");
    // The gateway is a client of the server, too, and shows the certificate of the server.
    let trusted = file(client.path(), "trusted");
    fs::write(&trusted, fs::read_to_string(&cert).unwrap() + &fs::read_to_string(&shown).unwrap()).unwrap();
    let server =
        server::start_with(&["--cert-file", &cert, "--key-file", &key, "--client-cert-auth", "--trusted-ca-file", &trusted]);
    let rest = format!("x?tls=on&ca={cert}&cert={shown}&key={}", file(client.path(), "key"));
    open(server.address(), &rest).check().unwrap();
    let error = try_open(server.address(), &format!("x?tls=on&ca={cert}")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("cert="), "{error}");
}

pub(crate) fn a_certificate_of_another_authority_is_denied() {
    let (own, other) = (certificate(), certificate());
    let server = server::start_with(&["--cert-file", &file(own.path(), "cert"), "--key-file", &file(own.path(), "key")]);
    let error = try_open(server.address(), &format!("x?tls=on&ca={}", file(other.path(), "cert"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("ca="), "{error}");
}

pub(crate) fn a_server_without_tls_is_denied() {
    let (server, own) = (server::start(), certificate());
    let error = try_open(server.address(), &format!("x?tls=on&ca={}", file(own.path(), "cert"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("tls=on"), "{error}");
}

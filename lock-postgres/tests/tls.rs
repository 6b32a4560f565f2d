//! Encrypted connections.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use lock_core::{Error, ErrorKind, OpenMode, Registry, Store};
use lock_servers::Postgres;

fn open(url: &str) -> Result<Store, Error> {
    let registry = Registry::default().merge([lock_postgres::BACKEND]).unwrap();
    Store::open(&registry, url, OpenMode::OpenOrCreate)
}

#[test]
fn a_connection_to_another_machine_is_encrypted_or_refused() {
    // Nothing answers there, so the refusal comes first or the server is unreachable.
    let error = open("postgres://me@127.0.0.2:1/db").unwrap_err();
    let expected = if cfg!(feature = "tls") { ErrorKind::Unreachable } else { ErrorKind::Unsupported };
    assert_eq!(error.kind(), expected, "{error}");
    let error = open("postgres://me@127.0.0.1:1/db?sslmode=prefer").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadUrl, "{error}");
}

/// Creates a certificate for `localhost` that is its own authority.
fn certificate(directory: &Path, name: &str) -> Option<()> {
    let (key, certificate) = (directory.join(format!("{name}.key")), directory.join(format!("{name}.crt")));
    let made = Command::new("openssl")
        .args(["req", "-new", "-x509", "-days", "30", "-nodes", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName = DNS:localhost", "-addext", "basicConstraints = critical, CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        return None;
    }
    let owner = fs::metadata(directory).unwrap();
    for file in [&key, &certificate] {
        chown(file, Some(std::os::unix::fs::MetadataExt::uid(&owner)), None).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }
    Some(())
}

#[test]
fn the_certificate_of_the_server_is_checked_with_its_name() {
    if !cfg!(feature = "tls") {
        return eprintln!("skipped: the feature tls is not enabled");
    }
    let server = match Postgres::start("") {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let directory = server.directory().to_owned();
    if certificate(&directory, "server").and(certificate(&directory, "other")).is_none() {
        return eprintln!("skipped: this machine lacks: openssl");
    }
    let url = |host: &str, authority: &str| {
        let file = directory.join(authority);
        format!("postgres://locks@{host}:{}/postgres?pool=a&sslmode=verify-full&sslrootcert={}", server.port(), file.display())
    };
    let error = open(&url("localhost", "server.crt")).unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("no TLS"), "{error}");
    server.stop(nix::sys::signal::Signal::SIGINT);
    server.append(
        "postgresql.conf",
        &format!("ssl = on\nssl_cert_file = '{0}/server.crt'\nssl_key_file = '{0}/server.key'\n", directory.display()),
    );
    server.run();
    let store = open(&url("localhost", "server.crt")).unwrap();
    let lock = store.allocate("").unwrap();
    let guard = lock.lock().unwrap();
    let encrypted =
        "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where ssl and application_name = 'lock-postgres'";
    assert_eq!(server.must(encrypted), "1");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.try_lock_for(std::time::Duration::from_secs(60)).unwrap().unlock().unwrap());
        while server.must("select count(*) from lock_store.waiter") == "0" {
            std::thread::yield_now();
        }
        guard.unlock().unwrap();
        waiter.join().unwrap();
    });
    for url in [url("localhost", "other.crt"), url("127.0.0.1", "server.crt")] {
        let error = open(&url).unwrap_err();
        assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("TLS failed"), "{error}");
    }
}

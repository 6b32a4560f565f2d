use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A directory with a certificate of 127.0.0.1 and its key. The certificate is its own authority.
pub(crate) fn certificate() -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]);
    openssl.args([
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    openssl.args(["-keyout", "key", "-out", "cert"]).current_dir(directory.path());
    let made = openssl.output().expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    directory
}

pub(crate) fn file(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

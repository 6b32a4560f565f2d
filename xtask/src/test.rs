//! `test`: runs all tests, or the suite of one backend.

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, cargo};

pub(crate) fn run(backend: Option<&str>) -> Result<()> {
    match backend {
        None => shell::run(&mut cargo(["test", "--workspace"])),
        Some(backend) => suite(backend),
    }
}

/// Runs the cases of one scheme, or of all schemes of a crate. The prefix "lock-" is optional.
fn suite(backend: &str) -> Result<()> {
    let backends = lock_any::backends()?;
    let (package, cases) = match backends.iter().find(|one| one.scheme() == backend) {
        Some(one) => (one.crate_name().to_owned(), Some(format!("{backend}::"))),
        None if backend.starts_with("lock-") => (backend.to_owned(), None),
        None => (format!("lock-{backend}"), None),
    };
    if !Metadata::load()?.has_test(&package, "conformance")? {
        return Err(format!("there is no backend {backend:?}, and the package {package} has no test target `conformance`").into());
    }
    let cases = cases.iter().flat_map(|cases| ["--", cases]);
    shell::run(&mut cargo(["test", "--package", &package, "--test", "conformance"].into_iter().chain(cases)))
}

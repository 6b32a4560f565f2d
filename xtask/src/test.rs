//! `test`: everything, or the suite of one backend.

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, cargo};

pub(crate) fn run(backend: Option<&str>) -> Result<()> {
    match backend {
        None => shell::run(&mut cargo(["test", "--workspace"])),
        Some(backend) => suite(backend),
    }
}

fn suite(backend: &str) -> Result<()> {
    let package = if backend.starts_with("lock-") { backend.to_owned() } else { format!("lock-{backend}") };
    if !Metadata::load()?.has_test(&package, "conformance")? {
        return Err(format!("{package} has no test target `conformance`").into());
    }
    shell::run(&mut cargo(["test", "--package", &package, "--test", "conformance"]))
}

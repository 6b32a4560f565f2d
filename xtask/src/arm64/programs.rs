//! The programs of the guest. They are static, so the guest needs no libraries.

use std::path::PathBuf;

use serde_json::Value;

use super::need;
use crate::shell::{self, cargo};
use crate::{Result, platforms};

const PACKAGES: [&str; 3] = ["lock-shm", "lock-file", "lock-sem"];

/// The programs of the guest.
pub(super) struct Programs {
    pub(super) init: PathBuf,
    pub(super) suites: Vec<Suite>,
}

/// A test program.
pub(super) struct Suite {
    pub(super) name: String,
    pub(super) file: PathBuf,
}

/// Builds the programs with musl or glibc.
pub(super) fn build(glibc: bool) -> Result<Programs> {
    let target = if glibc { "aarch64-unknown-linux-gnu" } else { "aarch64-unknown-linux-musl" };
    platforms::add(target).map_err(|error| format!("{target}: {error}"))?;
    if glibc {
        need("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")?;
    }
    let init = executables(target, glibc, &["build", "--package", "xtask", "--bin", "arm64-init"])?;
    let mut suites = Vec::new();
    for package in PACKAGES {
        let built = executables(target, glibc, &["test", "--no-run", "--lib", "--tests", "--package", package])?;
        suites.extend(built.into_iter().map(|(name, file)| Suite { name: format!("{package}-{name}"), file }));
    }
    let (_, init) = init.into_iter().next().ok_or("cargo built no init")?;
    Ok(Programs { init, suites })
}

/// Runs a cargo command, and returns the names and files of the programs that it builds.
fn executables(target: &str, glibc: bool, args: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut cargo = cargo(args.iter().copied().chain(["--target", target, "--message-format", "json-render-diagnostics"]));
    if glibc {
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    } else {
        // The target brings its own musl, and Rust its own linker.
        cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld");
    }
    let mut built = Vec::new();
    for line in shell::read(&mut cargo)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        if let (Some(file), Some(name)) = (message["executable"].as_str(), message["target"]["name"].as_str()) {
            built.push((name.to_owned(), file.into()));
        }
    }
    built.sort();
    Ok(built)
}

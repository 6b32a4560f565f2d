//! `tsan`: threads that use locks of each backend, under ThreadSanitizer.

use crate::Result;
use crate::metadata::Metadata;
use crate::{nightly, shell};

/// The target. It is explicit, so that the standard library is also built with the sanitizer.
const TARGET: &str = if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

pub(crate) fn run() -> Result<()> {
    find()?;
    check()
}

fn find() -> Result<()> {
    nightly::add("rust-src", nightly::has_source)
}

/// Runs the check, or prints the reason to skip it if the toolchain is missing.
pub(crate) fn run_in_ci() -> Result<()> {
    nightly::check_or_skip(find(), check)
}

fn check() -> Result<()> {
    let mut command =
        nightly::cargo(&["test", "--quiet", "-Zbuild-std", "--target", TARGET, "--package", "lock-weak", "--tests"]);
    command.env("CARGO_TARGET_DIR", Metadata::load()?.target()?.join("tsan")).env("RUSTFLAGS", "-Zsanitizer=thread");
    shell::run(&mut command)
}

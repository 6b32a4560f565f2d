//! `msrv`: checks the published crates with the lowest Rust version that they claim to support.

use std::process::{Command, Stdio};

use crate::Result;
use crate::metadata::Metadata;
use crate::nightly::check_or_skip;
use crate::shell;

/// Checks the crates. Installs that Rust version with rustup, unless it is installed, or skips the check with the reason.
pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    let version = metadata.rust_version("lock-core")?.to_owned();
    check_or_skip(install(&version), || {
        let mut cargo = shell::cargo_of(&version);
        cargo.args(["check", "--quiet", "--all-features", "--target-dir"]);
        cargo.arg(metadata.target()?.join("msrv"));
        for package in metadata.published() {
            cargo.args(["--package", &package.name]);
        }
        shell::run(&mut cargo)
    })
}

/// # Errors
/// The reason why the version is missing.
fn install(version: &str) -> Result<()> {
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", version, "--profile", "minimal", "--no-self-update"]);
    shell::run(rustup.stdout(Stdio::null())).map_err(|error| format!("Rust {version} cannot be installed ({error})").into())
}

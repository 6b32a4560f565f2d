//! The nightly toolchain, for what only it can do.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::shell;

/// Its cargo, at the root of the repository. With a toolchain it is the one of rustup, which is not the one that runs this program.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    // The cargo that runs this program sets these for its own toolchain.
    command.current_dir(shell::root()).env_remove("RUSTC").env_remove("RUSTDOC").arg("+nightly").args(args);
    command
}

/// Whether it has Miri.
pub(crate) fn has_miri() -> bool {
    let status = cargo(&["miri", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether it has the standard library's source.
pub(crate) fn has_source() -> bool {
    let output = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).into_owned();
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std").is_dir()
    })
}

/// Does the check where what it needs was found; skips it with the reason elsewhere.
pub(crate) fn check_or_skip(found: Result<()>, check: impl FnOnce() -> Result<()>) -> Result<()> {
    match found {
        Ok(()) => check(),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            Ok(())
        }
    }
}

/// Adds a component with rustup, unless it is there.
///
/// # Errors
/// The reason why it is not there afterwards.
pub(crate) fn add(component: &str, is_there: fn() -> bool) -> Result<()> {
    if is_there() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", component, "--toolchain", "nightly"]).stdout(Stdio::null());
    let added = shell::run(&mut rustup);
    if is_there() {
        return Ok(());
    }
    let why = added.err().map(|error| format!(" ({error})")).unwrap_or_default();
    Err(format!("{component} of a nightly toolchain is not installed, and rustup does not add it{why}").into())
}

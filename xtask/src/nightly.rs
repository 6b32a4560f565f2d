//! The nightly toolchain, for Miri and ThreadSanitizer.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::shell;

/// A command of the nightly cargo, at the root of the repository.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = shell::cargo_of("nightly");
    command.args(args);
    command
}

/// Whether Miri is installed.
pub(crate) fn has_miri() -> bool {
    let status = cargo(&["miri", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether the source of the standard library is installed.
pub(crate) fn has_source() -> bool {
    let output = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).stderr(Stdio::null()).output();
    output.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout).into_owned();
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std").is_dir()
    })
}

/// Runs the check if its requirements are met. Otherwise prints the reason to skip it.
pub(crate) fn check_or_skip(found: Result<()>, check: impl FnOnce() -> Result<()>) -> Result<()> {
    match found {
        Ok(()) => check(),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            Ok(())
        }
    }
}

/// Adds a component with rustup, unless it is installed.
///
/// # Errors
/// The reason why the component is missing.
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
    Err(format!("the component {component} of the nightly toolchain is not installed, and rustup cannot add it{why}").into())
}

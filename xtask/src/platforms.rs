//! `platforms`: checks the code for each platform, and runs the suites with musl on x86-64.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;
use crate::shell::{self, cargo};

const MUSL: &str = "x86_64-unknown-linux-musl";
const TARGETS: [&str; 3] = [MUSL, "aarch64-unknown-linux-gnu", "aarch64-unknown-linux-musl"];

/// Checks every target that is installed or can be added. Prints the reason for each skipped target.
pub(crate) fn run() -> Result<()> {
    for target in TARGETS {
        if let Err(reason) = add(target) {
            eprintln!("skipped {target}: {reason}");
            continue;
        }
        // SQLite, in this example, needs a C compiler for the target.
        let lint = ["clippy", "--workspace", "--exclude", "example-engine", "--all-targets", "--target", target];
        shell::run(&mut cargo(lint.into_iter().chain(["--", "--deny", "warnings"])))?;
        if target == MUSL && cfg!(target_arch = "x86_64") {
            let packages = ["--package", "lock-shm", "--package", "lock-file", "--package", "lock-sem"];
            shell::run(&mut cargo(["test", "--lib", "--tests", "--target", target].into_iter().chain(packages)))?;
        }
    }
    Ok(())
}

/// Adds the standard library of a target with rustup, unless it is installed.
pub(crate) fn add(target: &str) -> Result<()> {
    let directory =
        shell::read(Command::new("rustc").current_dir(shell::root()).args(["--print", "target-libdir", "--target", target]))?;
    if Path::new(directory.trim()).exists() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(shell::root()).args(["target", "add", target]).stdout(Stdio::null());
    match shell::run(&mut rustup) {
        Ok(()) => Ok(()),
        Err(error) => Err(format!("its standard library is not installed, and rustup cannot add it ({error})").into()),
    }
}

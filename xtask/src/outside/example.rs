//! The backend in `examples/mkdir-backend`, which uses only the public API. It passes the suite, run from a directory outside the
//! repository, and its `lockctl` lists it.

use std::fs;
use std::path::Path;

use super::expect;
use crate::Result;
use crate::shell::{self, root};

pub(super) fn check(target: &Path) -> Result<()> {
    let example = root().join("examples/mkdir-backend");
    let manifest = example.join("Cargo.toml");
    let manifest = manifest.to_str().ok_or("the path of the repository is not UTF-8")?;
    // Pins the versions of the dependencies.
    fs::copy(root().join("Cargo.lock"), example.join("Cargo.lock"))?;
    let elsewhere = shell::scratch("outside-")?;
    let cargo = |command: &str, args: &[&str]| {
        let mut cargo = shell::cargo([&[command, "--manifest-path", manifest], args].concat());
        cargo.current_dir(elsewhere.path()).env("CARGO_TARGET_DIR", target.join("mkdir-backend")).env_remove("LOCKCTL_STORE");
        cargo
    };
    shell::run(&mut cargo("fmt", &["--all", "--check"]))?;
    shell::run(&mut cargo("clippy", &["--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    expect(
        &mut cargo("run", &["--quiet", "--package", "mkdir-lockctl", "--", "backends", "--json"]),
        0,
        "\"scheme\": \"mkdir\"",
    )?;
    shell::run(&mut cargo("test", &[]))
}

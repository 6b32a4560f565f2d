//! The backend in `examples/mkdir-backend`, which uses only the public API. It passes the suite, run from a directory outside the
//! repository, and its `lockctl` lists it.

use std::path::Path;

use super::{expect, lint};
use crate::Result;
use crate::shell::{self, root};

pub(super) fn check(target: &Path) -> Result<()> {
    let example = root().join("examples/mkdir-backend");
    let manifest = example.join("Cargo.toml");
    let manifest = manifest.to_str().ok_or("the path of the repository is not UTF-8")?;
    let target = target.join("mkdir-backend");
    lint(&example, &target)?;
    let elsewhere = shell::scratch("outside-")?;
    let cargo = |command: &str, args: &[&str]| {
        let mut cargo = shell::cargo([&[command, "--manifest-path", manifest], args].concat());
        cargo.current_dir(elsewhere.path()).env("CARGO_TARGET_DIR", &target).env_remove("LOCKCTL_STORE");
        cargo
    };
    expect(
        &mut cargo("run", &["--quiet", "--package", "mkdir-lockctl", "--", "backends", "--json"]),
        0,
        "\"scheme\": \"mkdir\"",
    )?;
    shell::run(&mut cargo("test", &[]))
}

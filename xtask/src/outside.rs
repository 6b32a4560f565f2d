//! `outside`: checks a third-party backend crate outside the workspace. The crate is written from the template, is built, opens a store
//! through its own `lockctl`, and passes the suite. Its `lockctl` has no backend of this repository, and names the feature for `shm`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::metadata::Metadata;
use crate::new_backend;
use crate::shell::{self, Shown};

const NAME: &str = "my-backend";

pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    let target = metadata.target()?;
    let home = target.join("outside");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    let path = home.join(NAME);
    new_backend::write(NAME, &path, metadata.version("nix")?)?;
    let cargo = |args: &[&str]| {
        let mut cargo = shell::cargo(args);
        cargo.current_dir(&path).env("CARGO_TARGET_DIR", &target).env_remove("LOCKCTL_STORE");
        cargo
    };
    shell::run(&mut cargo(&["build"]))?;

    let url = format!("my:{}", home.join("store").display());
    let lockctl = |args: &[&str]| cargo(&[&["run", "--quiet", "--", "--store", &url], args].concat());
    for (args, wanted) in [
        (&["backends", "--json"][..], "\"scheme\": \"my\""),
        (&["create"], ""),
        (&["allocate"], "0\n"),
        (&["allocate"], "1\n"),
        (&["run", "1", "--", "echo", "under the lock"], "under the lock\n"),
        (&["list"], "1"),
        (&["destroy", "--yes"], ""),
    ] {
        expect(&mut lockctl(args), 0, wanted)?;
    }
    expect_gone(&home.join("store"))?;
    expect(&mut lockctl(&["list"]), 66, "there is no such store")?;
    expect(&mut cargo(&["run", "--quiet", "--", "--store", "shm:x", "list"]), 78, "feature `shm`")?;

    shell::run(&mut cargo(&["clippy", "--all-targets", "--", "--deny", "warnings"]))?;
    shell::run(&mut cargo(&["test", "--test", "conformance"]))?;
    shell::run(&mut cargo(&["run", "--quiet", "--", "demo"]))?;
    Ok(fs::remove_dir_all(&home)?)
}

/// Runs a command that must exit with this code and print this text.
fn expect(command: &mut Command, code: i32, words: &str) -> Result<()> {
    eprintln!("$ {}", Shown(command));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    eprint!("{said}");
    if output.status.code() != Some(code) || !said.contains(words) {
        return Err(format!("{} should exit with {code} and print {words:?}: {}", Shown(command), output.status).into());
    }
    Ok(())
}

fn expect_gone(path: &Path) -> Result<()> {
    if path.exists() { Err(format!("{} is still there", path.display()).into()) } else { Ok(()) }
}

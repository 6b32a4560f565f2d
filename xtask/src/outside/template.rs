//! A backend crate from the template. It is built, opens a store through its own `lockctl`, and passes the suite. Its `lockctl` has no
//! backend of this repository, and names the feature for `shm`.

use std::path::Path;

use super::expect;
use crate::shell::{self, Shown};
use crate::{Result, new_backend};

const NAME: &str = "my-backend";
const COMMAND: &str = "my-backend-lockctl";

pub(super) fn check(home: &Path, target: &Path, nix: &str) -> Result<()> {
    let path = home.join(NAME);
    new_backend::write(NAME, &path, nix)?;
    let cargo = |args: &[&str]| {
        let mut cargo = shell::cargo(args);
        cargo.current_dir(&path).env("CARGO_TARGET_DIR", target).env_remove("LOCKCTL_STORE");
        cargo
    };
    shell::run(&mut cargo(&["build", "--workspace"]))?;
    // The library does not depend on the command, which has many dependencies.
    let mut tree = cargo(&["tree", "--edges", "normal", "--prefix", "none"]);
    if shell::read(&mut tree)?.lines().any(|line| line.starts_with("clap ") || line.starts_with("lockctl ")) {
        return Err(format!("{} lists lockctl or clap", Shown(&tree)).into());
    }

    let url = format!("my:{}", home.join("store").display());
    let lockctl = |args: &[&str]| cargo(&[&["run", "--quiet", "--package", COMMAND, "--"], args].concat());
    let on_store = |args: &[&str]| lockctl(&[&["--store", &url], args].concat());
    for (args, wanted) in [
        (&["backends", "--json"][..], "\"scheme\": \"my\""),
        (&["create"], ""),
        (&["allocate"], "0\n"),
        (&["allocate"], "1\n"),
        (&["run", "1", "--", "echo", "under the lock"], "under the lock\n"),
        (&["list"], "1"),
        (&["destroy", "--yes"], ""),
    ] {
        expect(&mut on_store(args), 0, wanted)?;
    }
    expect_gone(&home.join("store"))?;
    expect(&mut on_store(&["list"]), 66, "there is no such store")?;
    expect(&mut lockctl(&["--store", "shm:x", "list"]), 78, "feature `shm`")?;

    shell::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    shell::run(&mut cargo(&["test", "--test", "conformance"]))?;
    shell::run(&mut lockctl(&["demo"]))
}

fn expect_gone(path: &Path) -> Result<()> {
    if path.exists() { Err(format!("{} is still there", path.display()).into()) } else { Ok(()) }
}

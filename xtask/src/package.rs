//! `package`: packages all crates as for a registry, builds the packages, and runs the tests of the packaged lock-core.

use std::process::Command;

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, cargo};

pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    shell::run(&mut cargo(["package", "--workspace", "--allow-dirty"]))?;
    // lock-core depends on no other crate of the workspace, so its package can be tested before any of them is published.
    let target = metadata.target()?;
    let name = format!("lock-core-{}", metadata.version("lock-core")?);
    let scratch = shell::scratch("package-")?;
    let file = target.join("package").join(format!("{name}.crate"));
    shell::run(Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(scratch.path()))?;
    let mut test = cargo(["test"]);
    shell::run(test.current_dir(scratch.path().join(name)).env("CARGO_TARGET_DIR", target.join("packaged")))
}

//! `package`: packages all crates as for a registry, builds the packages, and runs the tests of the packaged lock-core.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, cargo};

pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    forget_earlier_packages(&metadata)?;
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

/// Removes packages of the published crates that cargo has unpacked from the registry of an earlier run.
///
/// The registry is a directory in the target directory. Cargo identifies an unpacked package by the path of its registry and by its
/// version, so it would build the packages of this run with those of another commit.
fn forget_earlier_packages(metadata: &Metadata) -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let Some(home) = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo"))) else { return Ok(()) };
    let Ok(registries) = fs::read_dir(home.join("registry/src")) else { return Ok(()) };
    // The name of a registry is its host and a hash. A directory has no host.
    for registry in registries.flatten().filter(|entry| entry.file_name().as_encoded_bytes()[0] == b'-') {
        for package in metadata.published() {
            let unpacked = registry.path().join(format!("{}-{}", package.name, metadata.version(&package.name)?));
            if unpacked.exists() {
                fs::remove_dir_all(unpacked)?;
            }
        }
    }
    Ok(())
}

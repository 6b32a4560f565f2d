//! `outside`: checks crates outside the workspace, as their authors would write them.

mod example;
mod readme;
mod template;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, Shown, cargo, root};

pub(crate) fn run() -> Result<()> {
    let metadata = Metadata::load()?;
    let target = metadata.target()?;
    let home = target.join("outside");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    readme::check(&home, &target)?;
    template::check(&home, &target, metadata.version("nix")?)?;
    example::check(&target)?;
    Ok(fs::remove_dir_all(&home)?)
}

/// Checks the format and the lints of an example that is not part of the workspace.
pub(crate) fn lint(example: &Path, target: &Path) -> Result<()> {
    // Pins the versions of the dependencies.
    fs::copy(root().join("Cargo.lock"), example.join("Cargo.lock"))?;
    for args in [&["fmt", "--all", "--check"][..], &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]] {
        shell::run(cargo(args).current_dir(example).env("CARGO_TARGET_DIR", target))?;
    }
    Ok(())
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

//! `install`: installs `lockctl` with a short start: optimised as a whole, and linked statically.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, cargo};

/// The profile in `Cargo.toml`.
const PROFILE: &str = "dist";
/// Without libraries to find and to link at each start. rustc sets it by default for musl.
const STATIC: &str = "-Ctarget-feature=+crt-static";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Further options of `cargo install`, for example --features podman, --root DIR or --locked
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = with_short_start("install", &host()?);
    shell::run(command.args(["--path", "lockctl"]).args(&args.options)).map_err(|error| {
        format!("{error}; if the linker finds no static C library, install it (Fedora: glibc-static) or run cargo install --path lockctl").into()
    })
}

/// Builds the program, and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    let host = host()?;
    shell::run(with_short_start("build", &host).args(["--quiet", "--package", "lockctl", "--bin", "lockctl"]))?;
    Ok(Metadata::load()?.target()?.join(host).join(PROFILE).join("lockctl"))
}

/// A cargo command for this target, with the profile and the flags.
fn with_short_start(subcommand: &str, target: &str) -> Command {
    let mut command = cargo([subcommand, "--profile", PROFILE, "--target", target]);
    // With --target, the flags do not apply to procedural macros, which cannot be static.
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{flags} {STATIC}"));
    command
}

/// Returns the target that rustc builds for by default.
fn host() -> Result<String> {
    let version = shell::read(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc -vV prints no host")?.to_owned())
}

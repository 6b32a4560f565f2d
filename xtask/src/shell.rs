//! Runs other programs, mostly cargo.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::Result;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// A command of the cargo that runs this program, at the root of the repository.
pub(crate) fn cargo<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    command
}

/// A command of the cargo of a toolchain, at the root of the repository. Only rustup's `cargo` accepts a toolchain.
pub(crate) fn cargo_of(toolchain: &str) -> Command {
    let mut command = Command::new("cargo");
    // The cargo that runs this program sets these variables for its own toolchain.
    command.current_dir(root()).env_remove("RUSTC").env_remove("RUSTDOC").arg(format!("+{toolchain}"));
    command
}

/// A release build of this program, with these arguments.
pub(crate) fn released<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = cargo(["run", "--quiet", "--release", "--package", "xtask", "--"]);
    command.args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    command
}

/// Runs a release build of this program with the same arguments and `--built`.
pub(crate) fn run_released() -> Result<()> {
    run(&mut released(std::env::args().skip(1).chain(["--built".to_owned()])))
}

/// Creates a scratch directory, in memory if possible. It is removed when it is dropped.
pub(crate) fn scratch(prefix: &str) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())
}

/// Prints a command, and runs it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", Shown(command));
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("{} failed: {status}", Shown(command)).into()),
    }
}

/// Runs a command and returns its stdout. Its stderr is not captured.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} failed: {}", Shown(command), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Displays a command as it would be typed.
pub(crate) struct Shown<'a>(pub(crate) &'a Command);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Path::new(self.0.get_program()).file_name().unwrap_or_default();
        write!(f, "{}", program.to_string_lossy())?;
        self.0.get_args().try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
    }
}

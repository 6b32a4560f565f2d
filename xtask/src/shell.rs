//! Running other programs, cargo most of all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// The cargo that runs this program, at the root of the repository.
pub(crate) fn cargo<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args.into_iter().map(|arg| arg.as_ref().to_owned()));
    command
}

/// Runs a command, after saying which it is.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", Shown(command));
    match command.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("{} failed: {status}", Shown(command)).into()),
    }
}

/// Runs a command and returns what it writes to stdout; what it writes to stderr is shown.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} failed: {}", Shown(command), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A command as one would type it.
pub(crate) struct Shown<'a>(pub(crate) &'a Command);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Path::new(self.0.get_program()).file_name().unwrap_or_default();
        write!(f, "{}", program.to_string_lossy())?;
        self.0.get_args().try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
    }
}

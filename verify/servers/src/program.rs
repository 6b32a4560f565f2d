use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Returns the path of an installed program.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// Returns a command that gets this signal when the calling thread ends. The arguments of the program follow.
///
/// # Errors
/// The name of the program that is not installed.
pub(crate) fn bound(signal: &str) -> Result<Command, String> {
    let setpriv = find("setpriv").ok_or("this machine lacks: setpriv of util-linux")?;
    let mut command = Command::new(setpriv);
    command.arg(format!("--pdeathsig={signal}"));
    Ok(command)
}

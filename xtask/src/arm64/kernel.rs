//! The kernel of Debian's package `linux-image-arm64`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::need;
use crate::Result;
use crate::shell;

/// Returns the kernel in `home`. Downloads it if it is absent.
///
/// apt works in a scratch directory, so the system needs no foreign architecture and the caller no privileges.
pub(super) fn debian(home: &Path) -> Result<PathBuf> {
    let kernel = home.join("vmlinuz");
    if kernel.exists() {
        return Ok(kernel);
    }
    for (program, package) in [("apt-get", "apt"), ("dpkg-deb", "dpkg"), ("tar", "tar")] {
        need(program, package).map_err(|error| format!("{error}; or give a kernel with --kernel"))?;
    }
    let scratch = tempfile::tempdir_in(home)?;
    let (state, cache) = (scratch.path().join("state"), scratch.path().join("cache"));
    fs::create_dir_all(state.join("lists/partial"))?;
    fs::create_dir_all(cache.join("archives/partial"))?;
    let apt = |program: &str| {
        let mut apt = Command::new(program);
        apt.current_dir(scratch.path()).args(["-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]);
        apt.args(["-o", "Dir::State::status=/dev/null", "-o", "APT::Sandbox::User=root"]);
        apt.arg("-o").arg(format!("Dir::State={}", state.display())).arg("-o").arg(format!("Dir::Cache={}", cache.display()));
        apt
    };
    shell::run(apt("apt-get").arg("update"))?;
    let about = shell::read(apt("apt-cache").args(["show", "--no-all-versions", "linux-image-arm64"]))?;
    let package = about
        .lines()
        .find_map(|line| line.strip_prefix("Depends: ")?.split([' ', ',']).find(|package| package.starts_with("linux-image-")))
        .ok_or("apt knows no package linux-image-arm64 with a kernel; give a kernel with --kernel")?;
    shell::run(apt("apt-get").args(["download", package]))?;
    let downloaded = found(scratch.path(), |name| name.ends_with(".deb"))?;
    let mut content = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&downloaded).stdout(Stdio::piped()).spawn()?;
    let mut unpack = Command::new("tar");
    unpack.current_dir(scratch.path()).args(["-x", "--wildcards", "./boot/vmlinuz-*"]);
    shell::run(unpack.stdin(content.stdout.take().ok_or("no stdout")?))?;
    content.wait()?;
    fs::rename(found(&scratch.path().join("boot"), |name| name.starts_with("vmlinuz-"))?, &kernel)?;
    Ok(kernel)
}

/// Finds a file in a directory by its name.
fn found(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_wanted(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    Err(format!("there is no package or kernel in {}", directory.display()).into())
}

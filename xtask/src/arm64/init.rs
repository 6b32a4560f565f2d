//! The init of the guest of `cargo xtask arm64`: mounts file systems, runs the suites one after the other, prints the result, and
//! powers off. Under the name `/bin/cat` it copies stdin to stdout, because a suite executes `cat`.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, wait};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const SUITES: &str = "/suites";

/// The environment of the suites: longer watchdogs for an emulated processor, and permission to set the clock.
const SETTINGS: [(&str, &str); 5] = [
    ("LOCK_CONFORMANCE_WATCHDOG", "900"),
    ("LOCK_CONFORMANCE_SET_CLOCK", "1"),
    ("RUST_BACKTRACE", "1"),
    ("PATH", "/bin"),
    ("NO_COLOR", "1"),
];

fn main() {
    if std::env::args_os().next().is_some_and(|name| name == "cat") {
        let copied = io::copy(&mut io::stdin(), &mut io::stdout());
        std::process::exit(i32::from(copied.is_err()));
    }
    if std::process::id() != 1 || !Path::new(SUITES).exists() || Path::new("/proc/self").exists() {
        eprintln!("this is the init of the guest of `cargo xtask arm64`; run that command");
        std::process::exit(2);
    }
    let verdict = match run() {
        Ok(failed) if failed.is_empty() => "passed".to_owned(),
        Ok(failed) => format!("failed: {}", failed.join(", ")),
        Err(error) => format!("failed: {error}"),
    };
    println!("arm64: {verdict}");
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

/// Runs the suites, and returns the names of those that failed.
fn run() -> Result<Vec<String>> {
    for (kind, directory) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
    ] {
        fs::create_dir_all(directory)?;
        mount(Some(kind), directory, Some(kind), MsFlags::empty(), None::<&str>)
            .map_err(|error| format!("{directory}: {error}"))?;
    }
    for directory in ["/dev/shm", "/tmp"] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o1777))?;
    }
    let arguments = fs::read_to_string("/arguments")?;
    let mut suites: Vec<PathBuf> =
        fs::read_dir(SUITES)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    suites.sort();
    let mut failed = Vec::new();
    for suite in suites {
        let name = suite.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("== {name}");
        if !passes(Command::new(&suite).args(arguments.lines()).envs(SETTINGS))? {
            failed.push(name);
        }
    }
    Ok(failed)
}

/// Runs a program, and reaps orphaned processes meanwhile. Returns whether the program succeeded.
fn passes(command: &mut Command) -> Result<bool> {
    let child = command.spawn()?.id();
    loop {
        match wait()? {
            WaitStatus::Exited(pid, code) if pid.as_raw().unsigned_abs() == child => return Ok(code == 0),
            WaitStatus::Signaled(pid, signal, _) if pid.as_raw().unsigned_abs() == child => {
                println!("killed by {signal}");
                return Ok(false);
            }
            _ => {}
        }
    }
}

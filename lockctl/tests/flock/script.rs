//! Scripts that call `lock` and `lockfd`, which are flock(1) or `lockctl`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Failed;

/// The program that a script calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tool {
    Flock,
    Lockctl,
}

/// The result of a script.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    /// Stdout, without the name of the tool and times.
    pub(crate) out: String,
}

/// Files that each script finds in its directory.
const FILES: &[(&str, u32, &str)] = &[
    ("file", 0o644, "contents\n"),
    ("unreadable", 0o000, ""),
    ("read-only", 0o444, ""),
    ("not-executable", 0o644, "echo not executable\n"),
    ("without-interpreter", 0o755, "echo without interpreter\n"),
];

impl Tool {
    /// Runs a script with sh(1) in a new directory.
    pub(crate) fn run(self, script: &str) -> Result<Outcome, Failed> {
        let scratch = tempfile::Builder::new().prefix("lockctl-test-").tempdir()?;
        let (bin, work) = (scratch.path().join("bin"), scratch.path().join("work"));
        fs::create_dir(&bin)?;
        fs::create_dir(&work)?;
        fs::create_dir(work.join("directory"))?;
        for (name, mode, contents) in FILES {
            write(&work.join(name), *mode, contents)?;
        }
        let (run, fd) = match self {
            Self::Flock => ("exec flock \"$@\"", "exec flock \"$@\""),
            Self::Lockctl => ("exec \"$LOCKCTL\" run \"$@\"", "exec \"$LOCKCTL\" fd \"$@\""),
        };
        for (name, line) in [("lock", run), ("lockfd", fd)] {
            write(&bin.join(name), 0o755, &format!("#!/bin/sh\n{line}\n"))?;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir(&work)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("LOCKCTL", env!("CARGO_BIN_EXE_lockctl"))
            .env("LOCKCTL_STORE", format!("shm:{}", scratch.path().join("store").display()))
            .env_remove("SHELL")
            .stdin(Stdio::null())
            .output()?;
        let out = String::from_utf8_lossy(&output.stdout).lines().map(|line| normal(line) + "\n").collect();
        Ok(Outcome { code: output.status.code(), out })
    }
}

fn write(path: &Path, mode: u32, contents: &str) -> Result<(), Failed> {
    fs::write(path, contents)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Replaces the name of the tool and the time of an acquisition.
fn normal(line: &str) -> String {
    let Some(rest) = line.strip_prefix("flock: ").or_else(|| line.strip_prefix("lockctl: ")) else { return line.to_owned() };
    match rest.strip_prefix("getting lock took ").and_then(|rest| rest.split_once(' ')) {
        Some((time, rest)) if time.parse::<f64>().is_ok() => format!("tool: getting lock took TIME {rest}"),
        _ => format!("tool: {rest}"),
    }
}

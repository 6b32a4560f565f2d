//! Tests that need a mount or another user's file. Without the privilege a test is listed as ignored, with the reason.

#[path = "privileged/default_store.rs"]
mod default_store;
#[path = "privileged/doctor.rs"]
mod doctor;
#[path = "privileged/first_process.rs"]
mod first_process;
#[path = "privileged/surroundings.rs"]
mod surroundings;

use std::process::{Command, ExitCode, Output, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::unistd::Uid;
use tempfile::TempDir;

type Check = fn() -> Result<(), Failed>;

const LOCKCTL: &str = env!("CARGO_BIN_EXE_lockctl");

fn main() -> ExitCode {
    let mount = (!can_mount()).then_some("lacks private mounts");
    let root = (!Uid::effective().is_root()).then_some("lacks root");
    let trial = |name: &str, lacks: Option<&str>, run: fn() -> Result<(), Failed>| {
        Trial::test(name, run).with_kind(lacks.unwrap_or_default()).with_ignored_flag(lacks.is_some())
    };
    let trial_of = |(name, run): (&str, Check)| trial(name, mount, run);
    let surroundings = surroundings::WITH_MOUNTS.into_iter().map(trial_of);
    let users = surroundings::OF_USERS
        .into_iter()
        .chain(default_store::OF_USERS)
        .chain(first_process::OF_USERS)
        .map(|(name, run)| trial(name, root.or(mount), run));
    let doctor = doctor::ALL.into_iter().map(trial_of);
    let trials = vec![
        trial("a_full_file_system_is_an_error_and_leaves_nothing", mount, a_full_file_system),
        trial("a_read_only_file_system_is_an_error", mount, a_read_only_file_system),
        trial("the_store_of_another_user_is_refused", root, the_store_of_another_user),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials.into_iter().chain(surroundings).chain(doctor).chain(users).collect())
        .exit_code()
}

/// A shell in a private mount namespace. `$0` is lockctl, and `$1` a scratch directory.
fn in_mount_namespace(script: &str, scratch: &TempDir) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-ec", script, LOCKCTL]).arg(scratch.path());
    command.env_remove("LOCKCTL_STORE");
    command
}

fn can_mount() -> bool {
    let Ok(scratch) = tempfile::tempdir() else { return false };
    let mut mount = in_mount_namespace("mount -t tmpfs none $1", &scratch);
    mount.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn a_full_file_system() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let script = "mount -t tmpfs -o size=64k none $1; head -c 65536 /dev/zero >$1/full
        code=0; $0 --store shm:$1/locks create || code=$?; ls $1; exit $code";
    refused(&in_mount_namespace(script, &scratch).output()?, 73, "full\n")
}

fn a_read_only_file_system() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let script = "mount -t tmpfs -o ro none $1; $0 --store shm:$1/locks create";
    refused(&in_mount_namespace(script, &scratch).output()?, 77, "")
}

fn the_store_of_another_user() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let url = format!("shm:{}/locks", scratch.path().display());
    let lockctl = |args: &[&str]| Command::new(LOCKCTL).args(["--store", &url]).args(args).output();
    assert!(lockctl(&["create"])?.status.success());
    std::os::unix::fs::chown(scratch.path().join("locks"), Some(12_345), Some(12_345))?;
    refused(&lockctl(&["list"])?, 77, "")?;
    refused(&lockctl(&["run", "3", "--", "true"])?, 77, "")
}

/// Checks for this exit code, one line on stderr, and this stdout.
fn refused(output: &Output, code: i32, out: &str) -> Result<(), Failed> {
    let (stdout, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(code) && stdout == out && err.lines().count() == 1 && err.starts_with("lockctl: ") {
        return Ok(());
    }
    Err(format!("{}, wanted code {code} and {out:?}: {stdout:?} {err:?}", output.status).into())
}

//! `lockctl` beside LXC's tools, podman and programs with libc's mutexes, in private mount namespaces.
//!
//! Each test runs this binary again for the scenario of its name. A test whose requirement is missing is listed as ignored, with the
//! reason.

mod lxc;
mod peer;
mod podman;
mod scene;
mod segments;

use std::env;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::unistd::Uid;

/// The environment variable that names the scenario to run.
const VARIABLE: &str = "LOCKCTL_SCENARIO";

/// Returns the missing requirement of a scenario, if any.
type Requirement = fn() -> Option<&'static str>;

const SCENARIOS: &[(&str, Requirement, fn())] = &[
    ("lxc::a_tool_waits_and_both_are_named", lxc_and_root, lxc::a_tool_waits_and_both_are_named),
    ("lxc::a_tool_that_holds_the_lock_is_named", lxc_and_root, lxc::a_tool_that_holds_the_lock_is_named),
    ("podman::podman_waits_and_both_are_named", podman_and_root, podman::podman_waits_and_both_are_named),
    ("podman::a_stopped_podman_and_the_next_one_are_named", podman_and_root, podman::a_stopped_podman_and_the_next_one_are_named),
    ("podman::objects_are_named_by_lock_number", mounts, podman::objects_are_named_by_lock_number),
    ("podman::a_podman_that_hangs_is_killed", mounts, podman::a_podman_that_hangs_is_killed),
    ("segments::a_deadlock_is_explained", mounts, segments::a_deadlock_is_explained),
    ("segments::a_lost_waiter_is_explained", mounts, segments::a_lost_waiter_is_explained),
    ("segments::an_owner_that_is_not_certain_is_marked", mounts, segments::an_owner_that_is_not_certain_is_marked),
    (
        "segments::a_held_segment_mutex_is_named_and_stops_no_list",
        mounts,
        segments::a_held_segment_mutex_is_named_and_stops_no_list,
    ),
    ("segments::a_damaged_segment_is_an_error_in_each_command", mounts, segments::a_damaged_segment_is_an_error_in_each_command),
    ("segments::the_segment_of_another_user_is_refused", mounts, segments::the_segment_of_another_user_is_refused),
    ("segments::info_warns_when_nine_tenths_are_allocated", mounts, segments::info_warns_when_nine_tenths_are_allocated),
];

fn main() -> ExitCode {
    if let Some(code) = peer::run() {
        return code;
    }
    if let Ok(name) = env::var(VARIABLE) {
        let scenario = SCENARIOS.iter().find(|(known, ..)| *known == name);
        scenario.expect("the variable names a scenario").2();
        return ExitCode::SUCCESS;
    }
    let trials = SCENARIOS.iter().map(|&(name, requirement, _)| {
        let missing = requirement();
        let trial = Trial::test(name, move || run_again(name)).with_ignored_flag(missing.is_some());
        trial.with_kind(missing.unwrap_or_default())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn run_again(name: &str) -> Result<(), Failed> {
    let ran = Command::new("/proc/self/exe").env(VARIABLE, name).env_remove("LOCKCTL_STORE").output()?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr)).into())
}

fn mounts() -> Option<&'static str> {
    if !Uid::effective().is_root() {
        return Some("needs root");
    }
    let mounted =
        Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).stderr(Stdio::null()).status();
    (!mounted.is_ok_and(|status| status.success())).then_some("needs private mounts")
}

fn lxc_and_root() -> Option<&'static str> {
    if is_installed("lxc-info") { mounts() } else { Some("needs lxc installed") }
}

fn podman_and_root() -> Option<&'static str> {
    if is_installed("podman") { mounts() } else { Some("needs podman installed") }
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|ran| ran.status.success())
}

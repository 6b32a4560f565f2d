//! Tests that need a separate process: limits, full and read-only file systems, forks, and LXC's own tools.
//!
//! Each test runs this binary again for the scenario of its name. The requirements of a test are checked before any test runs. A
//! test whose requirement is missing is ignored, and the listing names the requirement.

use std::env;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::resource::{Resource, getrlimit};

mod machine {
    pub(crate) mod cleaner;
    pub(crate) mod file_systems;
    pub(crate) mod limits;
    pub(crate) mod lxc;
    pub(crate) mod processes;
}
use machine::{cleaner, file_systems, limits, lxc, processes};

/// The environment variable that names the scenario to run.
const VARIABLE: &str = "LOCK_FILE_SCENARIO";

/// Returns the missing requirement of a scenario, if any.
type Requirement = fn() -> Option<&'static str>;

const SCENARIOS: &[(&str, Requirement, fn())] = &[
    ("limits::ten_thousand_locks_are_held_at_once", many_files, limits::ten_thousand_locks_are_held_at_once),
    (
        "limits::a_limit_on_open_files_is_an_error_and_leaves_the_lock_free",
        nothing,
        limits::a_limit_on_open_files_is_an_error_and_leaves_the_lock_free,
    ),
    ("limits::more_handles_than_descriptors_work", nothing, limits::more_handles_than_descriptors_work),
    ("limits::a_waiter_polls_without_inotify", nothing, limits::a_waiter_polls_without_inotify),
    (
        "processes::a_forked_child_closes_the_files_of_its_parent",
        nothing,
        processes::a_forked_child_closes_the_files_of_its_parent,
    ),
    ("processes::a_forked_child_opens_its_own_file", nothing, processes::a_forked_child_opens_its_own_file),
    (
        "processes::locks_have_higher_numbers_than_the_inotify_instance",
        nothing,
        processes::locks_have_higher_numbers_than_the_inotify_instance,
    ),
    (
        "processes::a_free_lock_is_not_kept_for_a_waiter_that_was_killed",
        nothing,
        processes::a_free_lock_is_not_kept_for_a_waiter_that_was_killed,
    ),
    (
        "processes::a_free_lock_is_kept_for_a_stopped_waiter_for_a_limited_time",
        nothing,
        processes::a_free_lock_is_kept_for_a_stopped_waiter_for_a_limited_time,
    ),
    ("processes::a_leaked_guard_keeps_the_lock", nothing, processes::a_leaked_guard_keeps_the_lock),
    (
        "file_systems::a_lock_without_an_inode_is_an_error_and_other_locks_work",
        root,
        file_systems::a_lock_without_an_inode_is_an_error_and_other_locks_work,
    ),
    ("file_systems::a_read_only_file_system_is_an_error", root, file_systems::a_read_only_file_system_is_an_error),
    (
        "cleaner::systemd_tmpfiles_does_not_remove_a_held_lock",
        tmpfiles_and_root,
        cleaner::systemd_tmpfiles_does_not_remove_a_held_lock,
    ),
    ("lxc::tools_wait_for_a_held_lock", lxc_and_root, lxc::tools_wait_for_a_held_lock),
    ("lxc::an_acquisition_waits_for_a_tool", lxc_and_root, lxc::an_acquisition_waits_for_a_tool),
    ("lxc::a_killed_tool_releases_the_lock", lxc_and_root, lxc::a_killed_tool_releases_the_lock),
];

fn main() -> ExitCode {
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
    let ran = Command::new("/proc/self/exe").env(VARIABLE, name).output()?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr)).into())
}

fn nothing() -> Option<&'static str> {
    None
}

fn many_files() -> Option<&'static str> {
    let enough = getrlimit(Resource::RLIMIT_NOFILE).is_ok_and(|(_, hard)| hard >= limits::MANY + 100);
    (!enough).then_some("needs 10,100 open files")
}

fn root() -> Option<&'static str> {
    (!nix::unistd::geteuid().is_root()).then_some("needs root")
}

fn lxc_and_root() -> Option<&'static str> {
    let installed = Command::new("lxc-info").arg("--version").output().is_ok_and(|ran| ran.status.success());
    if installed { root() } else { Some("needs lxc installed") }
}

fn tmpfiles_and_root() -> Option<&'static str> {
    let installed = Command::new("systemd-tmpfiles").arg("--version").output().is_ok_and(|ran| ran.status.success());
    if installed { root() } else { Some("needs systemd-tmpfiles installed") }
}

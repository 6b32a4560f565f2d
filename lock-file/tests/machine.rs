//! What needs a process of its own: limits, full and read-only file systems, forks, and real LXC beside us.
//!
//! Each test runs this binary again, for the scenario of its name. What a test needs of the machine is found out before anything
//! runs, and what is missing stands in the listing.

use std::env;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::resource::{Resource, getrlimit};

mod machine {
    pub(crate) mod cleaner;
    pub(crate) mod limits;
    pub(crate) mod lxc;
    pub(crate) mod processes;
    pub(crate) mod room;
}
use machine::{cleaner, limits, lxc, processes, room};

/// The environment variable that names the scenario to run.
const VARIABLE: &str = "LOCK_FILE_SCENARIO";

/// What is missing for a scenario, if anything.
type Need = fn() -> Option<&'static str>;

const SCENARIOS: &[(&str, Need, fn())] = &[
    ("limits::ten_thousand_locks_are_held_at_once", many_files, limits::ten_thousand_locks_are_held_at_once),
    ("limits::a_limit_on_open_files_is_an_error_and_nothing_is_half_done", nothing, limits::a_limit_on_open_files_is_an_error),
    ("limits::more_handles_than_descriptors_work", nothing, limits::more_handles_than_descriptors_work),
    ("limits::without_inotify_a_waiter_looks_by_the_clock", nothing, limits::without_inotify_a_waiter_looks_by_the_clock),
    ("processes::a_forked_child_gives_its_copies_up", nothing, processes::a_forked_child_gives_its_copies_up),
    ("processes::a_child_opens_its_own", nothing, processes::a_child_opens_its_own),
    ("processes::a_dying_process_lets_go_of_its_locks_first", nothing, processes::a_dying_process_lets_go_of_its_locks_first),
    ("processes::a_leaked_guard_keeps_the_lock", nothing, processes::a_leaked_guard_keeps_the_lock),
    ("room::no_inode_left_is_an_error_and_other_locks_work", root, room::no_inode_left_is_an_error_and_other_locks_work),
    ("room::a_read_only_file_system_is_an_error", root, room::a_read_only_file_system_is_an_error),
    (
        "cleaner::a_store_that_is_cleaned_while_a_lock_is_held_keeps_it",
        tmpfiles_and_root,
        cleaner::a_store_that_is_cleaned_while_a_lock_is_held_keeps_it,
    ),
    ("lxc::tools_wait_for_our_lock", lxc_and_root, lxc::tools_wait_for_our_lock),
    ("lxc::our_lock_waits_for_tools", lxc_and_root, lxc::our_lock_waits_for_tools),
    ("lxc::the_lock_of_a_killed_tool_is_free", lxc_and_root, lxc::the_lock_of_a_killed_tool_is_free),
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(VARIABLE) {
        let scenario = SCENARIOS.iter().find(|(known, ..)| *known == name);
        scenario.expect("a scenario of this name").2();
        return ExitCode::SUCCESS;
    }
    let trials = SCENARIOS.iter().map(|&(name, need, _)| {
        let missing = need();
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

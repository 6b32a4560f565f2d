//! Tests beside podman's own program.
//!
//! Each test runs this binary again for the scenario of its name, with private file systems in place of those that podman uses. The
//! requirements of a test are checked before any test runs. A test whose requirement is missing is ignored, and the listing names the
//! requirement.

use std::env;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

mod machine {
    pub(crate) mod podman;
}
use machine::podman;

/// The environment variable that names the scenario to run.
const VARIABLE: &str = "LOCK_PODMAN_SCENARIO";

const SCENARIOS: &[(&str, fn())] = &[
    ("podman_waits_for_a_guard_and_is_listed", podman::podman_waits_for_a_guard_and_is_listed),
    ("podman_gets_the_lock_of_a_killed_owner", podman::podman_gets_the_lock_of_a_killed_owner),
    ("a_guard_waits_for_podman_and_names_it", podman::a_guard_waits_for_podman_and_names_it),
    ("the_lock_of_a_killed_podman_is_recovered_with_a_report", podman::the_lock_of_a_killed_podman_is_recovered_with_a_report),
    ("podman_recovers_a_lock_that_was_not_marked_consistent", podman::podman_recovers_a_lock_that_was_not_marked_consistent),
    ("both_allocate_at_once_and_no_id_is_shared", podman::both_allocate_at_once_and_no_id_is_shared),
    ("podman_uses_a_segment_that_this_crate_created", podman::podman_uses_a_segment_that_this_crate_created),
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(VARIABLE) {
        let scenario = SCENARIOS.iter().find(|(known, _)| *known == name);
        scenario.expect("the variable names a scenario").1();
        return ExitCode::SUCCESS;
    }
    let missing = missing();
    let trials = SCENARIOS.iter().map(|&(name, _)| {
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

/// Returns the missing requirement of the scenarios, if any.
fn missing() -> Option<&'static str> {
    let installed = Command::new("podman").arg("--version").output().is_ok_and(|ran| ran.status.success());
    if !installed {
        return Some("needs podman installed");
    }
    (!nix::unistd::geteuid().is_root()).then_some("needs root")
}

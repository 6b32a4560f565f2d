use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::planted::Mutation;
use super::workshop::{Ended, Workshop, is_failure};
use crate::Result;

/// Time limits of the checks. A check that reaches its limit counts as hanging.
const TESTS: Duration = Duration::from_secs(120);
const SUITE: Duration = Duration::from_secs(300);
const SWEEP: Duration = Duration::from_secs(1200);
/// Time limit of a build.
const BUILD: Duration = Duration::from_secs(1800);

/// The watchdog of a case, in seconds.
const WATCHDOG: &str = "15";

/// A check that may detect a change.
pub(super) struct Check {
    pub(super) name: String,
    build: Vec<String>,
    run: Vec<String>,
    limit: Duration,
}

/// The result of a check.
pub(super) enum Outcome {
    Passed,
    /// It failed, with this message.
    Failed(String),
}

/// Returns the checks for a change, the fastest first.
pub(super) fn checks_of(planted: &Mutation, root: &Path, sweep: bool) -> Vec<Check> {
    let package = planted.package();
    let mut kinds = vec!["--lib"];
    if package == "lock-core" {
        // The integration tests of lock-core are fast. Those of the backends are the suite.
        kinds.push("--tests");
    }
    let mut checks =
        vec![Check::tests(&format!("tests of {package}"), &[&["--package", package], kinds.as_slice()].concat(), TESTS)];
    if root.join("verify/model").is_dir() {
        checks.push(Check::model());
    }
    checks.extend(planted.scenario.map(Check::scenario));
    checks.extend(planted.backends.iter().map(|scheme| Check::suite(scheme)));
    if sweep {
        checks.extend(planted.backends.iter().take(1).map(|scheme| Check::sweep(scheme)));
    }
    checks
}

impl Check {
    fn tests(name: &str, which: &[&str], limit: Duration) -> Self {
        let test = |last: &[&str]| words(&[&["test", "--quiet"], which, last]);
        Self { name: name.to_owned(), build: test(&["--no-run"]), run: test(&[]), limit }
    }

    fn model() -> Self {
        let which = ["test", "--quiet", "--package", "lock-model", "--test", "short"];
        Self { name: "the model".to_owned(), build: words(&[&which, &["--no-run"]]), run: words(&[&which]), limit: SUITE }
    }

    fn scenario(name: &str) -> Self {
        let build = words(&[&["build", "--quiet", "--release", "--package", "xtask"]]);
        let run = ["run", "--quiet", "--release", "--package", "xtask", "--", "model", "--built", "--scenario", name];
        Self { name: "a scenario of the model".to_owned(), build, run: words(&[&run]), limit: SUITE }
    }

    fn suite(scheme: &str) -> Self {
        let package = match scheme {
            "posix-sem" => "lock-sem".to_owned(),
            scheme => format!("lock-{scheme}"),
        };
        let cases = format!("{scheme}::");
        let which = ["test", "--quiet", "--package", &package, "--test", "conformance"];
        let (build, run) = (words(&[&which, &["--no-run"]]), words(&[&which, &["--", &cases]]));
        Self { name: format!("suite of {scheme}"), build, run, limit: SUITE }
    }

    fn sweep(scheme: &str) -> Self {
        let build = words(&[&["build", "--quiet", "--release", "--package", "xtask"]]);
        let run = ["run", "--quiet", "--release", "--package", "xtask", "--", "sweep", "--short", "--backend", scheme, "--built"];
        Self { name: format!("sweep of {scheme}"), build, run: words(&[&run]), limit: SWEEP }
    }

    /// Builds the check. The time of the build is not counted.
    pub(super) fn build(&self, workshop: &Workshop) -> Result<()> {
        match workshop.run(&mut cargo(workshop, &self.build), BUILD)? {
            Ended::Well => Ok(()),
            Ended::Badly(output) => Err(format!("the change does not compile:\n{output}").into()),
            Ended::Late => Err("building takes too long".into()),
        }
    }

    pub(super) fn run(&self, workshop: &Workshop) -> Result<Outcome> {
        let mut command = cargo(workshop, &self.run);
        command.env("LOCK_CONFORMANCE_WATCHDOG", WATCHDOG);
        Ok(match workshop.run(&mut command, self.limit)? {
            Ended::Well => Outcome::Passed,
            Ended::Badly(output) => Outcome::Failed(first_failure(&output)),
            Ended::Late => Outcome::Failed(format!("it hangs: still running after {} s", self.limit.as_secs())),
        })
    }
}

fn cargo(workshop: &Workshop, arguments: &[String]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    workshop.enter(command.args(arguments));
    command
}

fn words(parts: &[&[&str]]) -> Vec<String> {
    parts.concat().into_iter().map(str::to_owned).collect()
}

/// Returns the name of the first failed test, or else the most informative line.
fn first_failure(output: &str) -> String {
    let name = |line: &str| line.trim_start_matches("test ").trim_end_matches("... FAILED").trim().to_owned();
    let failed = output.lines().find(|line| is_failure(line)).map(name);
    // With `--quiet` only this line has the name.
    let quiet = |line: &str| Some(line.strip_prefix("---- ")?.strip_suffix(" stdout ----")?.to_owned());
    let failed = failed.or_else(|| output.lines().find_map(quiet));
    let lost = || output.lines().find(|line| line.contains("panicked at") || line.contains("killed") || line.contains("signal"));
    failed.or_else(|| lost().map(str::to_owned)).unwrap_or_else(|| output.lines().last().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_named() {
        let output = "running 2 tests\ntest shm::fork::a_child_owns_nothing        ... ok\n\
                      test shm::fork::a_child_waits       ... FAILED\ntest result: FAILED. 1 passed\n";
        assert_eq!(first_failure(output), "shm::fork::a_child_waits");
        assert_eq!(first_failure("a\nthread 'main' panicked at x.rs\nb\n"), "thread 'main' panicked at x.rs");
        assert_eq!(first_failure("..F\n---- tests::a_name stdout ----\n\nthread 'x' panicked at x.rs\n"), "tests::a_name");
        assert_eq!(first_failure("a\nb\n"), "b");
    }
}

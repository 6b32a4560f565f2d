//! `ci`: runs all checks that a change has to pass.

use std::time::Instant;

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, cargo};
use crate::{api, examples, model, msrv, mutants, outside, package, platforms, soak, sweep, test, tidy, tsan, weak};

pub(crate) fn run(tested: bool) -> Result<()> {
    step("format", || shell::run(&mut cargo(["fmt", "--all", "--check"])))?;
    step("lints", || shell::run(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])))?;
    if !tested {
        step("tests", || test::run(None))?;
    }
    step("other platforms", platforms::run)?;
    step("weak memory, a few seeds", weak::run_in_ci)?;
    step("data races", tsan::run_in_ci)?;
    step("a short sweep", sweep::run_in_ci)?;
    step("a short storm", soak::run_in_ci)?;
    step("documentation", || {
        let mut doc = cargo(["doc", "--workspace", "--no-deps", "--document-private-items"]);
        shell::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))
    })?;
    step("lowest Rust version", msrv::run)?;
    step("public API", || api::run(true))?;
    step("tidy", tidy::run)?;
    step("each planted change applies", || mutants::check().and_then(|()| model::check()).and_then(|()| weak::check()))?;
    step("planted bugs of the model", model::run_in_ci)?;
    step("features, each alone", features)?;
    step("crates outside of the workspace", outside::run)?;
    step("examples", examples::run)?;
    step("packages", package::run)
}

/// Checks lock-any, lockctl and lock-conformance without features, and with each feature alone.
fn features() -> Result<()> {
    for feature in ["", "soak", "sweep"] {
        let only = ["clippy", "--package", "lock-conformance", "--features", feature, "--", "--deny", "warnings"];
        shell::run(&mut cargo(only))?;
    }
    let mut features = Metadata::load()?.features("lock-any")?;
    features.insert(0, String::new());
    for feature in &features {
        let only = ["--no-default-features", "--features", feature];
        let lint = ["clippy", "--all-targets", "--package", "lock-any", "--package", "lockctl"];
        shell::run(&mut cargo(lint.into_iter().chain(only).chain(["--", "--deny", "warnings"])))?;
        shell::run(&mut cargo(["test", "--package", "lock-any"].into_iter().chain(only)))?;
    }
    Ok(())
}

fn step(name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    eprintln!("== {name}");
    check()?;
    eprintln!("== {name}: passed in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

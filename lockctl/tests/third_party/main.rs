//! A third party's build of lockctl: this binary has its own backends, and runs `lockctl::main` if an environment variable is set.
//! Some of the backends make false claims, which the demo has to detect.

mod backends;

use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

/// Set for a process that runs `lockctl::main`.
const BE_LOCKCTL: &str = "LOCKCTL_TEST_BE_LOCKCTL";

fn main() -> ExitCode {
    if std::env::var_os(BE_LOCKCTL).is_some() {
        return lockctl::main();
    }
    let trials = vec![
        Trial::test("a_store_with_one_lock_needs_no_id", a_store_with_one_lock_needs_no_id),
        Trial::test("a_store_with_one_lock_is_listed_without_a_number", a_store_with_one_lock_is_listed),
        Trial::test("a_lock_can_be_broken_if_the_backend_claims_it", a_lock_can_be_broken),
        Trial::test("an_unsupported_operation_exits_69", an_unsupported_operation),
        Trial::test("the_demo_runs_every_backend_and_detects_false_claims", the_demo_detects_false_claims),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn lockctl(args: &[&str]) -> Result<Output, Failed> {
    let command = std::env::current_exe()?;
    Ok(Command::new(command).env(BE_LOCKCTL, "").env_remove("LOCKCTL_STORE").args(args).output()?)
}

/// Runs lockctl, which must exit with this code. Returns its stdout and stderr.
fn expect(code: i32, args: &[&str]) -> Result<(String, String), Failed> {
    let output = lockctl(args)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (out, err) = (text(output.stdout), text(output.stderr));
    if output.status.code() != Some(code) {
        return Err(format!("{args:?}: {}, wanted {code}: {out:?} {err:?}", output.status).into());
    }
    Ok((out, err))
}

fn url(scheme: &str, scratch: &TempDir) -> String {
    format!("{scheme}:{}/store", scratch.path().display())
}

fn a_store_with_one_lock_needs_no_id() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let url = url("single", &scratch);
    let command = std::env::current_exe()?;
    let inner = [command.to_str().ok_or("UTF-8")?, "run", "-n", "--store", &url, "--", "echo", "inside"];
    assert_eq!(expect(0, &["run", "--store", &url, "--", "echo", "inside"])?.0, "inside\n");
    let (out, err) = expect(1, &[&["run", "--store", &url, "--"], &inner[..]].concat())?;
    assert_eq!(out, "");
    assert!(err.contains("lock 0 is busy; the holder is unknown: none is recorded"), "{err}");
    expect(0, &["run", "--store", &url, "0", "--", "true"])?;
    let (_, err) = expect(67, &["run", "--store", &url, "3", "--", "true"])?;
    assert!(err.contains("out of range"), "{err}");
    expect(64, &["run", "--store", &url, "--new", "--", "true"])?;
    Ok(())
}

fn a_store_with_one_lock_is_listed() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let url = url("single", &scratch);
    expect(0, &["create", "--store", &url])?;
    let listing: serde_json::Value = serde_json::from_str(&expect(0, &["list", "--store", &url, "--json"])?.0)?;
    assert_eq!(listing["locks"].as_array().map(Vec::len), Some(1));
    assert!(listing["locks"][0]["id"] == 0 && listing["locks"][0]["held"].is_null(), "{listing}");
    expect(69, &["list", "--store", &url, "--held"])?;
    Ok(())
}

fn a_lock_can_be_broken() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let url = url("stuck", &scratch);
    expect(0, &["create", "--store", &url])?;
    expect(0, &["break", "--store", &url, "0", "--yes"])?;
    Ok(())
}

fn an_unsupported_operation() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let url = url("stuck", &scratch);
    expect(0, &["create", "--store", &url])?;
    for args in [&["run", "-w", "1", "0", "--", "true"][..], &["reconcile", "1"], &["list", "--held"]] {
        let (_, err) = expect(69, &[&["--store", &url], args].concat())?;
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    Ok(())
}

fn the_demo_detects_false_claims() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let (out, err) = expect(70, &["demo", "--scratch", scratch.path().to_str().ok_or("UTF-8")?])?;
    let verdict = |scheme: &str| {
        let row = out.lines().find(|line| line.split_whitespace().next() == Some(scheme));
        row.and_then(|row| row.split_whitespace().last()).unwrap_or_default()
    };
    for scheme in ["single", "stuck"] {
        assert_eq!(verdict(scheme), "ok", "{scheme}: {out}{err}");
    }
    for scheme in ["excludes-nobody", "forgets-deaths"] {
        assert_eq!(verdict(scheme), "VIOLATED", "{scheme}: {out}{err}");
        assert!(err.lines().any(|line| line.starts_with(&format!("lockctl: {scheme}: "))), "{scheme}: {err}");
    }
    assert!(err.contains("forgets-deaths: an owner died, and the next owner got no report"), "{err}");
    assert!(out.contains("in-threads: skipped: it is not shared between processes"), "{out}");
    assert!(out.contains("no-paths: skipped: "), "{out}");
    assert_eq!(std::fs::read_dir(scratch.path())?.count(), 0, "the demo left a file");
    Ok(())
}

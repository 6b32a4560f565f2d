//! `lockctl run` and `lockctl fd` beside flock(1): the same script runs with both, each time in a new directory.
//!
//! The tables are [`same::CASES`] and [`different::CASES`]. Without flock(1), the tests are listed as ignored, with the reason.

mod different;
mod same;
mod script;

use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

use script::{Outcome, Tool};

fn main() -> ExitCode {
    let missing = (!has_flock()).then_some("flock(1) is not installed");
    let trial = |name: String, test: Box<dyn FnOnce() -> Result<(), Failed> + Send>| {
        Trial::test(name, test).with_ignored_flag(missing.is_some()).with_kind(missing.unwrap_or_default())
    };
    let same = same::CASES.iter().map(|(group, script)| {
        let test = || expect(script, &Tool::Flock.run(script)?, &Tool::Lockctl.run(script)?);
        trial(format!("same::{group}: {}", one_line(script)), Box::new(test))
    });
    let different = different::CASES.iter().map(|case| {
        let test = || {
            expect(case.script, &case.flock.outcome(), &Tool::Flock.run(case.script)?)?;
            expect(case.script, &case.lockctl.outcome(), &Tool::Lockctl.run(case.script)?)
        };
        trial(format!("different::{}", case.reason), Box::new(test))
    });
    let manual = Trial::test("the manual lists each difference", manual_lists_each_difference);
    libtest_mimic::run(&Arguments::from_args(), same.chain(different).chain([manual]).collect()).exit_code()
}

fn has_flock() -> bool {
    let version = Command::new("flock").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn manual_lists_each_difference() -> Result<(), Failed> {
    let output = Command::new(env!("CARGO_BIN_EXE_lockctl")).arg("man").output()?;
    let manual = String::from_utf8(output.stdout)?.replace("\\-", "-");
    match different::CASES.iter().find(|case| !manual.contains(&format!(".TP\n{}\n", case.reason))) {
        Some(case) => Err(format!("the manual does not list: {}", case.reason).into()),
        None => Ok(()),
    }
}

fn expect(script: &str, wanted: &Outcome, found: &Outcome) -> Result<(), Failed> {
    if wanted == found { Ok(()) } else { Err(format!("{script}\nexpected {wanted:?}\nfound    {found:?}").into()) }
}

fn one_line(script: &str) -> String {
    script.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

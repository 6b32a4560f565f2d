//! `fuzz`: the long form of the fuzz tests, with cargo-fuzz on a nightly toolchain.

use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Result;
use crate::metadata::Metadata;
use crate::shell::{self, Shown};

const TARGETS: [&str; 4] = ["table", "url", "sequence", "growing"];

/// Time in seconds after which an input counts as hanging.
const LONGEST_SECONDS: u32 = 20;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run time of each target
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: u64,
    /// Only run this target
    #[arg(long, value_name = "TARGET", value_parser = TARGETS)]
    target: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    look_for_cargo_fuzz()?;
    let home = Metadata::load()?.target()?.join("fuzz");
    let mut done = Vec::new();
    for target in TARGETS.into_iter().filter(|target| args.target.as_deref().is_none_or(|only| only == *target)) {
        done.push((target, fuzz(target, args.minutes, &home)?));
    }
    for (target, outcome) in &done {
        println!("{target:>10}: {} executions, {} crashes", outcome.executions, u64::from(outcome.crash.is_some()));
        if let Some(crash) = &outcome.crash {
            println!("            {crash}");
        }
    }
    let executions: u64 = done.iter().map(|(_, outcome)| outcome.executions).sum();
    let crashes = done.iter().filter(|(_, outcome)| outcome.crash.is_some()).count();
    println!("{executions} executions, {crashes} crashes");
    if crashes > 0 { Err(format!("{crashes} targets crashed; the inputs are in {}", home.display()).into()) } else { Ok(()) }
}

struct Outcome {
    executions: u64,
    /// The file of the input, or the exit status of the target.
    crash: Option<String>,
}

/// A command of cargo-fuzz. Only rustup's `cargo` accepts a toolchain; the cargo that runs this program does not.
fn nightly(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(shell::root()).arg("+nightly").arg("fuzz").args(args);
    command
}

fn look_for_cargo_fuzz() -> Result<()> {
    let found = nightly(&["--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err("this needs cargo-fuzz and a nightly toolchain: `rustup toolchain install nightly` and `cargo install cargo-fuzz --locked` \
         (a minute); the short form needs neither: `cargo test --package lock-fuzz`"
        .into())
}

fn fuzz(target: &str, minutes: u64, home: &Path) -> Result<Outcome> {
    let (corpus, crashes) = (made(home.join("corpus").join(target))?, made(home.join("crashes").join(target))?);
    let build = home.join("build");
    // Removed with all files of a target that crashes or hangs.
    let scratch = shell::scratch("lock-fuzz-")?;
    let libfuzzer = [
        format!("-max_total_time={}", minutes * 60),
        format!("-timeout={LONGEST_SECONDS}"),
        // A slow input is no crash, because the machine may be busy.
        format!("-report_slow_units={}", 2 * LONGEST_SECONDS),
        format!("-artifact_prefix={}/", crashes.display()),
        // Inputs are sequences of steps. Try long ones from the start.
        "-max_len=512".to_owned(),
        "-len_control=1".to_owned(),
        "-print_final_stats=1".to_owned(),
        "-print_funcs=0".to_owned(),
    ];
    let mut command = nightly(&["run", "--fuzz-dir", "verify/fuzz/targets", "--target-dir"]);
    command.arg(&build).arg(target).arg(&corpus).arg("--").args(libfuzzer).env("TMPDIR", scratch.path());
    eprintln!("$ {}", Shown(&command));
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let (mut executions, mut crash) = (0, None);
    for line in BufReader::new(child.stderr.take().ok_or("no stderr")?).lines() {
        let line = line?;
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            executions = number.trim().parse()?;
        }
        if let Some((_, input)) = line.split_once("Test unit written to ") {
            crash = Some(input.to_owned());
        }
        // Omits the many lines about coverage if the output is not a terminal.
        if io::stderr().is_terminal() || !line.starts_with('#') {
            eprintln!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() && executions == 0 && crash.is_none() {
        return Err(format!("{} failed: {status}", Shown(&command)).into());
    }
    if !status.success() && crash.is_none() {
        crash = Some(format!("the target ended with {status}"));
    }
    Ok(Outcome { executions, crash })
}

fn made(directory: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

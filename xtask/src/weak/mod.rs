//! `weak`: runs lock words, recovery and allocation under Miri. Its loads may return older values, as on processors with weaker memory
//! than x86.

mod planted;

use std::process::Command;
use std::time::Instant;

use comfy_table::{Table, presets};

use self::planted::PLANTED;
use crate::Result;
use crate::copy::{self, Copy};
use crate::metadata::Metadata;
use crate::{nightly, shell};

/// Number of seeds in CI, which take about half a minute.
const FEW: u32 = 8;

/// The code follows links between locks by address, and the tests never unmap a table. Threads are preempted ten times as often as by
/// default.
const FLAGS: &str = "-Zmiri-permissive-provenance -Zmiri-ignore-leaks -Zmiri-preemption-rate=0.1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of seeds for the scheduler and the memory
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Check that Miri finds each planted memory order that is too weak
    #[arg(long)]
    planted: bool,
    /// Only check that each planted order still applies
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        return check();
    }
    find_miri()?;
    if args.planted { find_planted(args.seeds) } else { shell::run(&mut miri(args.seeds)?) }
}

/// Checks that each planted order applies exactly once.
pub(crate) fn check() -> Result<()> {
    copy::changed(PLANTED.iter().copied()).map(drop)
}

/// Runs the check, or prints the reason to skip it if Miri is missing and cannot be added.
pub(crate) fn run_in_ci() -> Result<()> {
    nightly::check_or_skip(find_miri(), || shell::run(&mut miri(FEW)?))
}

fn find_miri() -> Result<()> {
    nightly::add("rust-src", nightly::has_source)?;
    nightly::add("miri", nightly::has_miri)
}

fn miri(seeds: u32) -> Result<Command> {
    let mut command = nightly::cargo(&["miri", "test", "--quiet", "--package", "lock-weak", "--test", "memory"]);
    command.env("CARGO_TARGET_DIR", Metadata::load()?.target()?.join("weak"));
    command.env("MIRIFLAGS", format!("{FLAGS} -Zmiri-many-seeds=0..{seeds}"));
    Ok(command)
}

fn find_planted(seeds: u32) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ORDER", "FOUND", "SECONDS"]);
    let mut missed = 0;
    check()?;
    let copy = Copy::of_repository("weak-planted")?;
    for planted in PLANTED {
        let start = Instant::now();
        copy.write(planted.file, planted.apply(&copy::read(planted.file)?)?.as_bytes())?;
        let mut command = miri(seeds)?;
        copy.enter(&mut command);
        let output = command.output()?;
        copy.restore(planted.file)?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let found = text.lines().find(|line| line.starts_with("error: ") || line.contains("panicked at")).unwrap_or_default();
        missed += usize::from(output.status.success());
        let found = if output.status.success() { "NOT FOUND" } else { found };
        let found: String = found.chars().take(100).collect();
        eprintln!("{}: {found}", planted.name);
        table.add_row([planted.name, &found, &format!("{:.0}", start.elapsed().as_secs_f64())]);
    }
    println!("{table}");
    if missed > 0 { Err(format!("{missed} of {} planted orders were not found", PLANTED.len()).into()) } else { Ok(()) }
}

//! `model`: explores every interleaving of a few threads in the real lock and allocation code, with deaths at every step.

mod planted;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use comfy_table::{CellAlignment, Table, presets};

use self::planted::PLANTED;
use crate::Result;
use crate::copy::Copy;
use crate::shell;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only run scenarios with this text in their name
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Maximum number of states of a scenario
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    states: usize,
    /// Check that the model finds each planted bug
    #[arg(long)]
    planted: bool,
    /// Only check that each planted bug still applies
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match args {
        Args { check: true, .. } => check(),
        Args { planted: true, .. } => find_planted(args.states),
        _ => explore(args),
    }
}

/// Checks that each planted bug applies exactly once.
pub(crate) fn check() -> Result<()> {
    planted::planted_files().map(drop)
}

/// Checks that each planted bug is found within 2,000,000 states.
pub(crate) fn run_in_ci() -> Result<()> {
    find_planted(2_000_000)
}

/// Explores the scenarios in a release build, because there are millions of states.
fn explore(args: &Args) -> Result<()> {
    let mut command = shell::cargo(["run", "--quiet", "--release", "--package", "lock-model", "--bin", "explore", "--"]);
    shell::run(command.arg(args.states.to_string()).args(&args.scenario))
}

/// Builds a copy of the sources with all planted bugs, and searches for each bug.
fn find_planted(states: usize) -> Result<()> {
    let files = planted::planted_files()?;
    let copy = Copy::of_repository("model")?;
    files.iter().try_for_each(|(file, text)| copy.write(file, text.as_bytes()))?;
    let mut command = shell::cargo(["run", "--quiet", "--release", "--package", "lock-model", "--bin", "find_planted", "--"]);
    copy.enter(&mut command);
    command.arg(states.to_string()).args(PLANTED.iter().flat_map(|bug| [bug.name, bug.found_by]));
    // Mutation bugs leave unused code.
    command.env("RUSTFLAGS", "--cap-lints=allow").stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["BUG", "FOUND BY", "STATES", "RUNS", "AS"]);
    table.column_iter_mut().skip(2).take(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let mut found = 0;
    let output = child.stdout.take().ok_or("the child's output is not a pipe")?;
    for (line, bug) in BufReader::new(output).lines().zip(PLANTED) {
        let line = line?;
        let [name, states, runs, what] = line.split('\t').collect::<Vec<_>>()[..] else { return Err(line.into()) };
        found += usize::from(!what.is_empty());
        let by = if what.is_empty() { "NOT FOUND" } else { bug.found_by };
        eprintln!("{name}: {}", if what.is_empty() { by } else { what });
        table.add_row([name, by, states, runs, what]);
    }
    let status = child.wait()?;
    println!("{table}");
    match PLANTED.len() - found {
        _ if !status.success() => Err(format!("the search for planted bugs failed: {status}").into()),
        0 => Ok(()),
        missed => Err(format!("{missed} of {} planted bugs were not found", PLANTED.len()).into()),
    }
}

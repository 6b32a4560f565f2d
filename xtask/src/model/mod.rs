//! `model`: explores every interleaving of a few threads in the real lock and allocation code, with deaths at every step.

mod planted;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::ProgressBar;
use lock_model::{Report, Scenario, Verdict, scenarios};

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
    /// This program is already a release build
    #[arg(long, hide = true)]
    built: bool,
}

/// Runs in a release build, because there are millions of states.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args {
        Args { check: true, .. } => check(),
        Args { planted: true, .. } => find_planted(args.states),
        Args { built: true, .. } => visit(args),
        _ => shell::run_released(),
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

fn visit(args: &Args) -> Result<()> {
    let mut scenarios = scenarios();
    scenarios.retain(|scenario| args.scenario.as_deref().is_none_or(|name| scenario.name.contains(name)));
    if scenarios.is_empty() {
        return Err("no scenario matches this name".into());
    }
    let mut table = table(["SCENARIO", "THREADS", "MAY DIE", "STATES", "RUNS", "DEATHS", "ENDS", "LONGEST", "RESULT"]);
    let mut wrong = 0;
    for scenario in &scenarios {
        let start = Instant::now();
        let report = explore(scenario, args.states);
        let result = match &report.verdict {
            Verdict::Holds => "holds, all states",
            Verdict::Fails { .. } => "FAILS",
            Verdict::Unfinished => "UNFINISHED",
        };
        wrong += usize::from(report.verdict != Verdict::Holds);
        eprintln!("{}: {result}: {} states in {:.1} s", scenario.name, report.states, start.elapsed().as_secs_f64());
        let numbers = [scenario.threads(), scenario.most_deaths(), report.states, report.executions, report.deaths, report.ends];
        let numbers = numbers.into_iter().chain([report.longest]).map(|number| number.to_string());
        table.add_row([scenario.name.to_owned()].into_iter().chain(numbers).chain([result.to_owned()]));
        if let Verdict::Fails { what, history } = &report.verdict {
            println!("{}: {what}\n{}\n", scenario.name, history.join("\n"));
        }
    }
    println!("{table}\nbounds: {}", lock_model::BOUNDS);
    if wrong > 0 { Err(format!("{wrong} scenarios do not hold").into()) } else { Ok(()) }
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
    let mut table = table(["BUG", "FOUND BY", "STATES", "RUNS", "AS"]);
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

fn explore(scenario: &Scenario, states: usize) -> Report {
    let bar = ProgressBar::new_spinner().with_message(scenario.name);
    bar.enable_steady_tick(Duration::from_millis(200));
    let report = scenario.explore(states, |progress| {
        bar.set_message(format!("{}: {} states, {} runs", scenario.name, progress.states, progress.executions));
    });
    bar.finish_and_clear();
    report
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for number in 2..N - 1 {
        if let Some(column) = table.column_mut(number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

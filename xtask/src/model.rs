//! `model`: every interleaving of a few threads through the real lock and allocation code, with deaths at every step.

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::ProgressBar;
use lock_model::{PLANTED, Report, Scenario, Verdict, planted, scenarios};

use crate::Result;
use crate::shell;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only scenarios with this in their name
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Give a scenario up after so many states
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    states: usize,
    /// See that each of the planted bugs is found
    #[arg(long)]
    planted: bool,
    /// This program is a release build already
    #[arg(long, hide = true)]
    built: bool,
}

/// There are millions of states, so it is a release build of this program that visits them.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !args.built {
        return shell::run_released();
    }
    if args.planted { find_planted(args) } else { visit(args) }
}

fn visit(args: &Args) -> Result<()> {
    let mut scenarios = scenarios();
    scenarios.retain(|scenario| args.scenario.as_deref().is_none_or(|name| scenario.name.contains(name)));
    if scenarios.is_empty() {
        return Err("there is no such scenario".into());
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

fn find_planted(args: &Args) -> Result<()> {
    let scenarios = scenarios();
    let mut table = table(["BUG", "FOUND BY", "STATES", "RUNS", "AS"]);
    let mut missed = 0;
    for bug in PLANTED {
        let scenario = scenarios.iter().find(|scenario| scenario.name == bug.found_by);
        let scenario = scenario.ok_or_else(|| format!("there is no scenario {}", bug.found_by))?;
        let report = planted(bug, || explore(scenario, args.states));
        let (by, what) = match report.verdict {
            Verdict::Fails { what, .. } => (scenario.name, what),
            _ => ("NOT FOUND", String::new()),
        };
        missed += usize::from(by != scenario.name);
        table.add_row([bug.name, by, &report.states.to_string(), &report.executions.to_string(), &what]);
    }
    println!("{table}");
    if missed > 0 { Err(format!("{missed} of {} planted bugs were not found", PLANTED.len()).into()) } else { Ok(()) }
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

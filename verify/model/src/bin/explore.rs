//! Explores all interleavings of scenarios, and prints a table of them. `cargo xtask model` runs it.
//!
//! The arguments are the maximum number of states of a scenario and, optionally, a text in the names of the scenarios.

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::ProgressBar;
use lock_model::{Report, Scenario, Verdict, scenarios};

const COLUMNS: [&str; 9] = ["SCENARIO", "THREADS", "MAY DIE", "STATES", "RUNS", "DEATHS", "ENDS", "LONGEST", "RESULT"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let states = arguments.next().ok_or("no number of states")?.parse()?;
    let name = arguments.next();
    let mut scenarios = scenarios();
    scenarios.retain(|scenario| name.as_deref().is_none_or(|name| scenario.name.contains(name)));
    if scenarios.is_empty() {
        return Err("no scenario matches this name".into());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(COLUMNS);
    table.column_iter_mut().skip(1).take(COLUMNS.len() - 2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let mut wrong = 0;
    for scenario in &scenarios {
        let start = Instant::now();
        let report = explore(scenario, states);
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

fn explore(scenario: &Scenario, states: usize) -> Report {
    let bar = ProgressBar::new_spinner().with_message(scenario.name);
    bar.enable_steady_tick(Duration::from_millis(200));
    let report = scenario.explore(states, |progress| {
        bar.set_message(format!("{}: {} states, {} runs", scenario.name, progress.states, progress.executions));
    });
    bar.finish_and_clear();
    report
}

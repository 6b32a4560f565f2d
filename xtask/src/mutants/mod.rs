//! `mutants`: plants wrong changes one at a time, and reports which check detects each.

mod check;
mod planted;
mod workshop;

use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};

use self::check::{Outcome, checks_of};
use self::planted::Mutation;
use self::workshop::Workshop;
use crate::Result;
use crate::copy;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only changes with this text in their name or file name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// List the changes
    #[arg(long)]
    list: bool,
    /// Only check that each change still applies (fast)
    #[arg(long)]
    check: bool,
    /// Skip the sweep, the last and slowest check
    #[arg(long)]
    no_sweep: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let is_meant =
        |planted: &Mutation| args.only.as_deref().is_none_or(|only| planted.name.contains(only) || planted.file.contains(only));
    let chosen: Vec<_> = planted::all().filter(|planted| is_meant(planted)).collect();
    if chosen.is_empty() {
        return Err("no change matches; list the changes with --list".into());
    }
    if args.list {
        chosen.iter().for_each(|planted| println!("{:32} {}: {}", planted.name, planted.file, planted.breaks));
        return Ok(());
    }
    check()?;
    if args.check { Ok(()) } else { hunt(&chosen, !args.no_sweep) }
}

/// The number of changes.
pub(crate) fn count() -> usize {
    planted::all().count()
}

/// Checks that the text of each change occurs exactly once in its file.
pub(crate) fn check() -> Result<()> {
    let lost: Vec<_> = planted::all().filter_map(|planted| copy::changed([planted.change()]).err()).collect();
    if lost.is_empty() { Ok(()) } else { Err(lost.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").into()) }
}

/// The result for one change.
struct Row {
    planted: &'static Mutation,
    /// The check that detected it and its message; `None` for a survivor.
    caught: Option<(String, String)>,
    took: Duration,
}

fn hunt(chosen: &[&'static Mutation], sweep: bool) -> Result<()> {
    let workshop = Workshop::open()?;
    let mut rows = Vec::new();
    for (at, planted) in chosen.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", at + 1, chosen.len(), planted.name, planted.breaks);
        let row = try_to_catch(&workshop, planted, sweep)?;
        match &row.caught {
            Some((check, what)) => eprintln!("    detected by {check} after {:.0} s: {what}", row.took.as_secs_f64()),
            None => eprintln!("    SURVIVED {:.0} s", row.took.as_secs_f64()),
        }
        rows.push(row);
    }
    report(&rows)
}

fn try_to_catch(workshop: &Workshop, planted: &'static Mutation, sweep: bool) -> Result<Row> {
    workshop.plant(planted)?;
    let mut took = Duration::ZERO;
    let mut caught = None;
    for check in checks_of(planted, workshop.root(), sweep) {
        check.build(workshop)?;
        let begun = Instant::now();
        let outcome = check.run(workshop)?;
        took += begun.elapsed();
        if let Outcome::Failed(what) = outcome {
            caught = Some((check.name, what));
            break;
        }
    }
    workshop.clear(planted)?;
    Ok(Row { planted, caught, took })
}

fn report(rows: &[Row]) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["CHANGE", "DETECTED BY", "MESSAGE", "SECONDS"]);
    table.column_mut(3).expect("the table has four columns").set_cell_alignment(CellAlignment::Right);
    for row in rows {
        let seconds = format!("{:.1}", row.took.as_secs_f64());
        let (check, what) = match (&row.caught, row.planted.excuse) {
            (Some((check, what)), _) => (check.as_str(), what.as_str()),
            (None, Some(excuse)) => ("none, as expected", excuse),
            (None, None) => ("NONE", row.planted.breaks),
        };
        table.add_row([row.planted.name, check, what, &seconds]);
    }
    let caught = rows.iter().filter(|row| row.caught.is_some()).count();
    let explained = rows.iter().filter(|row| row.caught.is_none() && row.planted.excuse.is_some()).count();
    let share = 100.0 * caught as f64 / rows.len() as f64;
    println!("{table}\n{caught} of {} detected ({share:.0} %), {explained} undetected for a known reason", rows.len());
    match rows.len() - caught - explained {
        0 => Ok(()),
        survivors => Err(format!("{survivors} changes were not detected by any check").into()),
    }
}

//! `sweep`: kills a process at every instruction and every system call of every operation of every backend.

use std::io::{self, IsTerminal};
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use lock_any::{Backend, Numbering};
use lock_conformance::sweep::{News, Row, Sweep, Thoroughness};

use crate::Result;
use crate::shell;

/// Places of each operation in a short sweep.
const SHORT: usize = 100;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only at some places of each operation, evenly spread: a few minutes
    #[arg(long)]
    short: bool,
    /// Only at so many places of each operation
    #[arg(long, value_name = "N", conflicts_with = "short")]
    places: Option<usize>,
    /// Only the backend of this scheme
    #[arg(long, value_name = "SCHEME")]
    backend: Option<String>,
    /// Only operations with this in their name
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// This program is a release build already
    #[arg(long, hide = true)]
    built: bool,
}

/// What is optimised has fewer instructions, and is what people run: so it is a release build of this program that sweeps.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.built {
        return sweep(args);
    }
    shell::run(&mut shell::released(std::env::args().skip(1).chain(["--built".to_owned()])))
}

/// A sweep so short that it is about the sweep as much as about the backends.
pub(crate) fn run_in_ci() -> Result<()> {
    shell::run(&mut shell::released(["sweep", "--places", "12", "--built"]))
}

fn sweep(args: &Args) -> Result<()> {
    let thoroughness = match (args.short, args.places) {
        (_, Some(places)) => Thoroughness::AtMost(places),
        (true, None) => Thoroughness::AtMost(SHORT),
        (false, None) => Thoroughness::Every,
    };
    let wanted = |backend: &Backend| args.backend.as_deref().is_none_or(|scheme| scheme == backend.scheme());
    let mut backends = lock_any::backends()?;
    backends.retain(|backend| wanted(backend) && backend.capabilities().numbering == Numbering::Numbered);
    if backends.is_empty() {
        return Err("there is no such backend with numbered locks".into());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["BACKEND", "OPERATION", "KILLED AT EACH", "POINTS", "LOST"]);
    for number in [3, 4] {
        table.column_mut(number).expect("there are five").set_cell_alignment(CellAlignment::Right);
    }
    let (mut points, mut lost) = (0, 0);
    for backend in &backends {
        for row in sweep_backend(backend, thoroughness, args.operation.as_deref())? {
            table.add_row([backend.scheme(), row.operation, &row.by.to_string(), &row.points.to_string(), &row.lost.to_string()]);
            points += row.points;
            lost += row.lost;
        }
    }
    println!("{table}\n{points} points, {lost} lost");
    if lost > 0 { Err(format!("after {lost} kills something was wrong").into()) } else { Ok(()) }
}

fn sweep_backend(backend: &Backend, thoroughness: Thoroughness, only: Option<&str>) -> Result<Vec<Row>> {
    let scratch = shell::scratch("lock-sweep-")?;
    let url = |directory: &Path| format!("{}:{}/store", backend.scheme(), directory.display());
    let mut sweep = Sweep::new(backend, &url).thoroughness(thoroughness);
    if let Some(only) = only {
        sweep = sweep.only(only);
    }
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{prefix:>10} {msg:28} {wide_bar} {pos}/{len}")?);
    bar.set_prefix(backend.scheme());
    let rows = sweep.run(scratch.path(), &mut |news| match news {
        News::At { operation, place, of } => {
            bar.set_message(operation);
            bar.set_length(of as u64);
            bar.set_position(place as u64);
        }
        News::Done(row) => say(backend, row),
        _ => {}
    });
    bar.finish_and_clear();
    Ok(rows?)
}

/// What was lost, at once; and where nobody looks at a progress bar, what is done.
fn say(backend: &Backend, row: &Row) {
    if let Some(first) = &row.first {
        eprintln!("{}: {}: {first}", backend.scheme(), row.operation);
    } else if !io::stderr().is_terminal() {
        eprintln!("{}: {} at each {}: {} points", backend.scheme(), row.operation, row.by, row.points);
    }
}

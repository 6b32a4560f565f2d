//! `sweep`: kills a process at every instruction and every system call of every operation of every backend.

mod state;

use std::path::{Path, PathBuf};
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use lock_any::Backend;
use lock_conformance::sweep::{By, Progress, Sweep, Thoroughness};

use self::state::{Line, State};
use crate::Result;
use crate::{backends, shell};

/// Number of points of each operation in a short sweep.
const SHORT: usize = 100;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only kill at some evenly spread points of each operation (a few minutes)
    #[arg(long)]
    short: bool,
    /// Number of points of each operation to kill at
    #[arg(long, value_name = "N", conflicts_with = "short")]
    places: Option<usize>,
    /// Only sweep the backend of this scheme
    #[arg(long, value_name = "SCHEME")]
    backend: Option<String>,
    /// Only sweep operations with this text in their name
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Keep the results in this file, and continue from them: sweeps one build in parts
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// This program is already a release build
    #[arg(long, hide = true)]
    built: bool,
}

/// Runs in a release build: it has fewer instructions, and matches released programs.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.built {
        return sweep(args);
    }
    shell::run_released()
}

/// Runs a very short sweep, mostly to check the sweep itself.
pub(crate) fn run_in_ci() -> Result<()> {
    shell::run(&mut shell::released(["sweep", "--places", "12", "--built"]))
}

fn sweep(args: &Args) -> Result<()> {
    let thoroughness = match (args.short, args.places) {
        (_, Some(places)) => Thoroughness::AtMost(places),
        (true, None) => Thoroughness::AtMost(SHORT),
        (false, None) => Thoroughness::Every,
    };
    let backends = backends::local(args.backend.as_deref())?;
    let mut state = State::read(args.state.as_deref())?;
    let start = Instant::now();
    for backend in &backends {
        sweep_backend(backend, thoroughness, args, &mut state)?;
    }
    let wanted = |line: &Line| {
        backends.iter().any(|backend| backend.scheme() == line.scheme)
            && args.operation.as_deref().is_none_or(|name| line.operation.contains(name))
    };
    let lines: Vec<_> = state.lines().filter(|line| wanted(line)).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["BACKEND", "OPERATION", "KILLED AT EACH", "POINTS", "OF", "LOST"]);
    for number in [3, 4, 5] {
        table.column_mut(number).expect("there are six").set_cell_alignment(CellAlignment::Right);
    }
    for line in &lines {
        let [points, of, lost] = [line.points, line.chosen, line.lost].map(|number| number.to_string());
        table.add_row([&line.scheme, &line.operation, &line.by, &points, &of, &lost]);
    }
    let sum = |number: fn(&Line) -> usize| lines.iter().map(|line| number(line)).sum::<usize>();
    let (points, lost) = (sum(|line| line.points), sum(|line| line.lost));
    let missed = sum(Line::missed);
    eprintln!(
        "{:.0} s, {} points reached only by single steps, {missed} points not reached again",
        start.elapsed().as_secs_f64(),
        sum(|line| line.stepped)
    );
    println!("{table}\n{points} points, {lost} lost");
    if lost > 0 { Err(format!("{lost} kills broke a promise").into()) } else { Ok(()) }
}

fn sweep_backend(backend: &Backend, thoroughness: Thoroughness, args: &Args, state: &mut State) -> Result<()> {
    let scratch = shell::scratch("lock-sweep-")?;
    let url = |directory: &Path| match backend.scheme() {
        // Without `rundir` the lock file would be among LXC's own.
        "lxc" => format!("lxc:{0}?name=sweep&rundir={0}", directory.display()),
        scheme => format!("{scheme}:{}/store", directory.display()),
    };
    let before = state.clone();
    let done = |operation: &str, by: By| before.has(backend.scheme(), operation, by);
    let mut sweep = Sweep::new(backend, &url).thoroughness(thoroughness).but_for(&done);
    if let Some(only) = &args.operation {
        sweep = sweep.only(only);
    }
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{prefix:>10} {msg:32} {wide_bar} {pos}/{len}")?);
    bar.set_prefix(backend.scheme());
    let mut kept = Ok(());
    let mut start = Instant::now();
    let swept = sweep.run(scratch.path(), &mut |report| match report {
        Progress::At { operation, place, of } => {
            bar.set_message(operation);
            bar.set_length(of as u64);
            bar.set_position(place as u64);
        }
        Progress::Done(row) => {
            let line = Line::new(backend.scheme(), row);
            let time = start.elapsed().as_secs_f64();
            start = Instant::now();
            bar.suspend(|| {
                eprintln!("{line} in {time:.1} s");
                if let Some(first) = &row.first {
                    eprintln!("{}: {}: {first}", backend.scheme(), row.operation);
                }
            });
            if kept.is_ok() {
                kept = state.keep(line);
            }
        }
        _ => {}
    });
    bar.finish_and_clear();
    swept?;
    Ok(kept?)
}

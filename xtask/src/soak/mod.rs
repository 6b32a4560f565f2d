//! `soak`: kills many processes, most of them owners of a lock, and counts lost locks.

mod state;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use lock_any::Backend;
use lock_conformance::soak::{Progress, Soak, Totals};

use self::state::State;
use crate::Result;
use crate::{backends, shell};

/// Interval of progress lines if stderr is not a terminal.
const INTERVAL: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only test the backend of this scheme
    #[arg(long, value_name = "SCHEME")]
    backend: Option<String>,
    /// Number of processes to kill, for each backend, including the kills in the state file
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    kills: u64,
    /// Run every Nth worker in this PID namespace, and the others in separate ones with equal thread ids (needs root)
    #[arg(long, value_name = "N", default_value_t = 1)]
    namespaces: usize,
    /// Maximum time for each backend
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Keep the totals in this file, and continue from them
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// This program is already a release build
    #[arg(long, hide = true)]
    built: bool,
}

/// Runs in a release build: it kills more processes in the same time, and matches released programs.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.built {
        return soak(args);
    }
    shell::run_released()
}

/// Runs a few seconds for each backend.
pub(crate) fn run_in_ci() -> Result<()> {
    shell::run(&mut shell::released(["soak", "--kills", "1500", "--minutes", "0.05", "--built"]))
}

fn soak(args: &Args) -> Result<()> {
    let backends = backends::local(args.backend.as_deref())?;
    let mut state = State::read(args.state.as_deref())?;
    let mut table = Table::new();
    let titles = [
        "BACKEND",
        "KILLS",
        "AIMED",
        "OWNER DEATHS",
        "UNNAMED",
        "SECTIONS",
        "ALLOCATIONS",
        "VIOLATIONS",
        "LOST",
        "WORST WAIT",
        "TIME",
    ];
    table.load_style(presets::NOTHING).set_header(titles);
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let mut all = Totals::default();
    for backend in &backends {
        match Soak::refusal(backend) {
            Some(refusal) if args.backend.is_some() => return Err(format!("{}: {refusal}", backend.scheme()).into()),
            Some(refusal) => eprintln!("{}: skipped: {refusal}", backend.scheme()),
            None => {
                let totals = soak_backend(backend, args, &mut state)?;
                table.add_row(row(backend.scheme(), &totals));
                all += totals;
            }
        }
    }
    println!("{table}\n{}", sentence(&all));
    if all.is_clean() { Ok(()) } else { Err("a promise was broken".into()) }
}

fn soak_backend(backend: &Backend, args: &Args, state: &mut State) -> Result<Totals> {
    let before = state.totals(backend.scheme());
    let wanted = args.kills.saturating_sub(before.kills);
    if wanted == 0 {
        return Ok(before);
    }
    let scratch = shell::scratch("lock-soak-")?;
    let url = |directory: &Path| format!("{}:{}/store", backend.scheme(), directory.display());
    let time = args.minutes.map_or(Ok(Duration::MAX), |minutes| Duration::try_from_secs_f64(minutes * 60.0))?;
    let bar = ProgressBar::new(args.kills).with_style(ProgressStyle::with_template("{prefix:>10} {wide_bar} {pos}/{len} {msg}")?);
    bar.set_prefix(backend.scheme());
    let mut printed = Instant::now();
    let mut kept = Ok(());
    let done = Soak::new(backend, &url).kills(wanted).time(time).namespaces(args.namespaces).run(scratch.path(), &mut |report| {
        match report {
            Progress::Storm(totals) => {
                bar.set_position(before.kills + totals.kills);
                bar.set_message(format!("{} owner deaths, {} lost", before.owner_deaths + totals.owner_deaths, totals.lost));
            }
            Progress::Calm(totals) => {
                let sum = sum(before, *totals);
                if kept.is_ok() {
                    kept = state.keep(backend.scheme(), sum);
                }
                if printed.elapsed() > INTERVAL && !io::stderr().is_terminal() {
                    printed = Instant::now();
                    eprintln!("{}: {}", backend.scheme(), sentence(&sum));
                }
            }
            Progress::Wrong(what) => bar.suspend(|| eprintln!("{}: {what}", backend.scheme())),
            _ => {}
        }
    });
    bar.finish_and_clear();
    kept?;
    Ok(sum(before, done?))
}

fn sum(mut before: Totals, now: Totals) -> Totals {
    before += now;
    before
}

fn row(scheme: &str, totals: &Totals) -> [String; 11] {
    let numbers = [totals.kills, totals.aimed, totals.owner_deaths, totals.unnamed, totals.sections, totals.allocations];
    let [kills, aimed, deaths, unnamed, sections, allocations] = numbers.map(|number| number.to_string());
    let (violations, lost) = (totals.violations.to_string(), totals.lost.to_string());
    let wait = format!("{:.1} ms", totals.worst_wait.as_secs_f64() * 1000.0);
    let time = format!("{:.0} s", totals.time.as_secs_f64());
    [scheme.to_owned(), kills, aimed, deaths, unnamed, sections, allocations, violations, lost, wait, time]
}

fn sentence(totals: &Totals) -> String {
    format!(
        "{} kills, {} owner deaths, {} sections, {} violations, {} lost",
        totals.kills, totals.owner_deaths, totals.sections, totals.violations, totals.lost
    )
}

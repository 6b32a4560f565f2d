//! The cost of locks and of their alternatives: `cargo xtask bench`.
//!
//! Absolute times mean little on a shared machine. So the subjects take turns in one run, in a different order each round. The result is
//! the ratio to the peer in the same round: its median, and its quartiles. Other processes are copies of this program with a
//! role.

mod allocation;
mod commands;
mod contended;
mod crowd;
mod death;
mod effort;
mod fairness;
mod instructions;
mod listings;
mod peers;
mod podman;
mod process;
mod promise;
mod report;
mod rounds;
mod row;
mod run_command;
mod scratch;
mod servers;
mod sizes;
mod sys;
mod uncontended;
mod unit;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::effort::Effort;
use crate::peers::glibc::Board;
use crate::report::{Machine, Report};
use crate::scratch::Scratch;

#[derive(Parser)]
#[command(about = "Compares locks with their alternatives")]
struct Args {
    /// Write the rows as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace the text between the marks in this document, and the plot beside it
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The program lockctl to compare with flock(1)
    #[arg(long, value_name = "FILE")]
    lockctl: Option<PathBuf>,
    /// Only check that everything runs; the figures are meaningless
    #[arg(long)]
    quick: bool,
    /// Only count instructions, under valgrind
    #[arg(long)]
    instructions: bool,
    /// Only measure these parts: memory, kernel, others, busy, contended, fairness, allocation, sizes, listings, commands, podman, death, deadlines, servers, crowd
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    if std::env::var_os(commands::BE_LOCKCTL).is_some() {
        return lockctl::main();
    }
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, role, scratch, rest @ ..] = arguments.as_slice()
        && flag == process::ROLE
    {
        act(role, Path::new(scratch), rest);
        return ExitCode::SUCCESS;
    }
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn act(role: &str, scratch: &Path, arguments: &[String]) {
    match role {
        commands::ROLE => commands::run(scratch, arguments),
        contended::ROLE => contended::run(scratch, arguments),
        crowd::ROLE => crowd::run(scratch, arguments),
        death::ROLE => death::run(scratch, arguments),
        fairness::ROLE => fairness::run(scratch),
        podman::ROLE => podman::run(scratch),
        servers::ROLE => servers::run(arguments),
        instructions::ROLE => instructions::run(arguments),
        _ => panic!("there is no role {role}"),
    }
}

fn run(args: &Args) -> Result<(), String> {
    if cfg!(not(target_env = "gnu")) {
        return Err("the comparison needs the mutexes of glibc; build this program for glibc".to_owned());
    }
    let scratch = Scratch::new();
    if args.instructions {
        let table = instructions::table(scratch.path())?;
        print!("{table}");
        return args.markdown.as_ref().map_or(Ok(()), |path| rewrite(path, "instructions", &table));
    }
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let report = measure(&scratch, args, &effort);
    print!("{}", report.text());
    write(args.json.as_deref(), || report.json())?;
    write(args.html.as_deref(), || report.page())?;
    if let Some(path) = &args.markdown {
        rewrite(path, "figures", &report.document())?;
        write(Some(&path.with_extension("svg")), || report.growth())?;
    }
    Ok(())
}

fn measure(scratch: &Scratch, args: &Args, effort: &Effort) -> Report {
    let board = Board::create(scratch.path());
    let (mut rows, mut points) = (Vec::new(), Vec::new());
    let mut part = |name: &str, measure: &mut dyn FnMut() -> Vec<row::Row>| {
        if args.only.is_empty() || args.only.iter().any(|only| only == name) {
            let start = Instant::now();
            rows.extend(measure());
            eprintln!("measured: {name}, in {:.1} s", start.elapsed().as_secs_f64());
        }
    };
    part("memory", &mut || uncontended::in_memory(scratch, &board, effort));
    part("kernel", &mut || uncontended::in_the_kernel(scratch, effort));
    part("others", &mut || uncontended::among_others(scratch, effort));
    part("busy", &mut || uncontended::busy(scratch, &board, effort));
    part("contended", &mut || contended::rows(scratch, &board, effort));
    part("fairness", &mut || fairness::rows(scratch, effort));
    part("allocation", &mut || {
        let (rows, plotted) = allocation::rows(scratch, effort);
        points = plotted;
        rows
    });
    part("sizes", &mut || sizes::rows(scratch, effort));
    part("listings", &mut || listings::rows(scratch, effort));
    part("commands", &mut || {
        let mut rows = run_command::rows(scratch, args.lockctl.as_deref(), effort);
        rows.extend(commands::rows(scratch, effort));
        rows
    });
    part("podman", &mut || podman::rows(scratch, effort));
    death::create(scratch);
    part("death", &mut || death::hand_over(scratch, &board, effort));
    part("deadlines", &mut || death::deadlines(scratch, &board, effort));
    part("servers", &mut || servers::rows(scratch, effort));
    part("crowd", &mut || crowd::rows(scratch, &board, effort));
    let rounds = format!(
        "medians of {} rounds ({} where a store is large), {} windows of {:?} of contention, {} kills of each kind",
        effort.rounds, effort.slow_rounds, effort.windows, effort.window, effort.kills
    );
    Report { machine: Machine::here(rounds), rows, points }
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), String> {
    path.map_or(Ok(()), |path| fs::write(path, text()).map_err(|error| format!("{}: {error}", path.display())))
}

/// Replaces the text between the marks of a document.
fn rewrite(path: &Path, name: &str, text: &str) -> Result<(), String> {
    let in_path = |error: String| format!("{}: {error}", path.display());
    let before = fs::read_to_string(path).map_err(|error| in_path(error.to_string()))?;
    let after = report::replace(&before, name, text).map_err(in_path)?;
    fs::write(path, after).map_err(|error| in_path(error.to_string()))
}

//! `bench`: measures the cost of locks and their alternatives, with `verify/bench`.

use std::path::PathBuf;

use crate::Result;
use crate::install;
use crate::metadata::Metadata;
use crate::shell::{self, cargo};

const DOCUMENT: &str = "docs/performance.md";
/// The part that compares `lockctl run` with flock(1).
const COMMANDS: &str = "commands";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the rows as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the figures into docs/performance.md
    #[arg(long)]
    docs: bool,
    /// Only check that everything runs; the figures are meaningless
    #[arg(long, conflicts_with = "docs")]
    quick: bool,
    /// Only count the instructions of the hot paths, under valgrind
    #[arg(long, conflicts_with_all = ["json", "html", "quick", "only"])]
    instructions: bool,
    /// Only measure this part: memory, kernel, others, busy, contended, fairness, allocation, sizes, listings, commands, death, deadlines or crowd
    #[arg(long, value_name = "PART", conflicts_with = "docs")]
    only: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = cargo(["run", "--quiet", "--profile", "bench", "--package", "lock-bench", "--"]);
    for (option, file) in [("--json", &args.json), ("--html", &args.html)] {
        if let Some(file) = file {
            // The command runs at the root of the repository.
            command.arg(option).arg(std::path::absolute(file)?);
        }
    }
    if args.docs {
        command.arg("--markdown").arg(shell::root().join(DOCUMENT));
    }
    for (flag, given) in [("--quick", args.quick), ("--instructions", args.instructions)] {
        if given {
            command.arg(flag);
        }
    }
    if !args.instructions && (args.only.is_empty() || args.only.iter().any(|part| part == COMMANDS)) {
        command.arg("--lockctl").arg(lockctl(args.quick)?);
    }
    command.args(args.only.iter().flat_map(|part| ["--only", part]));
    shell::run(&mut command)
}

/// Returns the path of the program `lockctl`.
fn lockctl(quick: bool) -> Result<PathBuf> {
    if !quick {
        return install::build();
    }
    // To optimise it as a whole takes minutes.
    shell::run(&mut cargo(["build", "--quiet", "--package", "lockctl", "--bin", "lockctl"]))?;
    Ok(Metadata::load()?.target()?.join("debug").join("lockctl"))
}

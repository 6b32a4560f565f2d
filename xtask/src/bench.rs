//! `bench`: measures the cost of locks and their alternatives, with `lock-any/benches/compare`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Result;
use crate::shell::{self, cargo};

const DOCUMENT: &str = "docs/performance.md";
/// The keys of every row.
const KEYS: [&str; 6] = ["name", "ours", "peer", "ratio", "promise", "met"];

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
    /// Only measure this part: memory, kernel, others, busy, contended, allocation, sizes, listings, death, deadlines or crowd
    #[arg(long, value_name = "PART", conflicts_with = "docs")]
    only: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = cargo(["bench", "--package", "lock-any", "--features", "shm,file,sem", "--bench", "compare", "--"]);
    for (option, file) in [("--json", &args.json), ("--html", &args.html)] {
        if let Some(file) = file {
            // Cargo runs benchmarks in another directory.
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
    command.args(args.only.iter().flat_map(|part| ["--only", part]));
    shell::run(&mut command)
}

/// Checks that everything runs and that the JSON is complete. Uses a debug build, most of which exists already.
pub(crate) fn run_in_ci() -> Result<()> {
    let scratch = shell::scratch("lock-bench-ci-")?;
    let json = scratch.path().join("out.json");
    let test = ["test", "--quiet", "--package", "lock-any", "--features", "shm,file,sem", "--bench", "compare"];
    shell::run(cargo(test).args(["--", "--quick", "--json"]).arg(&json).stdout(std::process::Stdio::null()))?;
    check(&json)
}

fn check(path: &Path) -> Result<()> {
    let report: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let rows = report["rows"].as_array().filter(|rows| !rows.is_empty()).ok_or("the benchmark wrote no rows")?;
    for row in rows {
        if let Some(key) = KEYS.iter().find(|key| row.get(key).is_none()) {
            return Err(format!("a row of the benchmark has no {key}: {row}").into());
        }
        if row["ours"].is_null() && row["note"].is_null() {
            return Err(format!("a row of the benchmark has neither a figure nor a note: {row}").into());
        }
    }
    Ok(())
}

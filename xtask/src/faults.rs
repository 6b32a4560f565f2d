//! `faults`: the long form of the runs with faults of servers, networks and clients.

use crate::Result;
use crate::shell::{self, cargo};

/// The servers of a run, as the program names them.
const ENGINES: [&str; 3] = ["etcd", "etcd-cluster", "postgres"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of faults in each run
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    faults: u64,
    /// Only run with these servers
    #[arg(long, value_name = "SERVERS", value_parser = ENGINES)]
    engine: Option<String>,
    /// Seed of the random choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    for engine in ENGINES.into_iter().filter(|engine| args.engine.as_deref().is_none_or(|only| only == *engine)) {
        let (faults, seed) = (args.faults.to_string(), args.seed.to_string());
        let program = ["run", "--quiet", "--release", "--package", "lock-faults", "--", "run"];
        let settings = ["--engine", engine, "--faults", &faults, "--seed", &seed];
        shell::run(&mut cargo(program.into_iter().chain(settings)))?;
    }
    Ok(())
}

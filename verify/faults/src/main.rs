//! Breaks servers, networks and clients of the backends past one machine, and checks the histories of their locks.
//!
//! Clients, which are processes, use locks through proxies and work on a resource that the locks protect. Meanwhile clients are killed and
//! stopped, connections are cut, networks parted, sessions ended, and servers killed and stopped. Afterwards the checker
//! (`src/checker.rs`) looks at the histories, and the resource tells how many updates were lost, without and with the check of tokens.
#![forbid(unsafe_code)]

mod checker;
mod client;
mod clock;
mod event;
mod fault;
mod history;
mod namespace;
mod network;
mod proxy;
mod random;
mod resource;
mod run;
mod service;
mod skew;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Run clients and faults, and check the histories
    Run(run::RunArgs),
    /// Use locks until killed. A run starts clients
    #[command(hide = true)]
    Client(client::ClientArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Role::Client(args) => match client::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lock-faults: {error}");
                ExitCode::FAILURE
            }
        },
        Role::Run(args) => match run::run(&args) {
            Ok(report) => {
                table::print(&args, &report);
                let is_right = report.violations.is_empty() && report.stuck.is_empty() && report.totals.lost_checked == 0;
                if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(lack) => {
                println!("not run: {lack}");
                ExitCode::SUCCESS
            }
        },
    }
}

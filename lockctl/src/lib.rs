//! The command `lockctl`: runs commands under locks that processes share, and shows who holds them.
//!
//! Its `main` is a function of this library, because a backend is only there in programs that link it. A command that knows a
//! backend of your own is a crate with two lines:
//!
//! ```text
//! use my_backend as _;
//! fn main() -> std::process::ExitCode { lockctl::main() }
//! ```
//!
//! Whatever goes wrong is one line on the standard error stream and an exit code of its own, see [`ExitStatus`].
#![deny(unsafe_code)]

mod backends;
mod cli;
mod demo;
mod docs;
mod exit;
mod facts;
mod info;
mod list;
mod manage;
mod output;
mod run;
mod store;
mod sys;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind as Usage;

use cli::{Cli, Command};
use exit::Failure;

pub use exit::ExitStatus;

/// What the program `lockctl` does: reads the arguments of the process, does what they say, and returns how to exit.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not failures. Who closed the pipe does not want to read them.
            let _ = error.print();
            return match error.kind() {
                Usage::DisplayHelp | Usage::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitStatus::USAGE.into(),
            };
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(failure) => {
            failure.report();
            failure.status.into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let place = cli.place;
    match cli.command {
        Command::Run(args) => return run::run(&place, &args),
        Command::Allocate(args) => manage::allocate(&place, &args)?,
        Command::Free(args) => return manage::free(&place, &args),
        Command::FreeAll(_) => manage::free_all(&place)?,
        Command::List(args) => list::list(&place, &args)?,
        Command::Info(args) => info::info(&place, &args)?,
        Command::Backends(args) => backends::backends(&args)?,
        Command::Reconcile(args) => manage::reconcile(&place, &args)?,
        Command::Break(args) => manage::break_lock(&place, &args)?,
        Command::Create => manage::create(&place)?,
        Command::Destroy(_) => manage::destroy(&place)?,
        Command::Demo(args) => return demo::demo(&args),
        Command::Completions(args) => docs::completions(args.shell)?,
        Command::Man => docs::man()?,
        Command::DemoJanitor(args) => demo::janitor(&args)?,
        Command::DemoWorker(args) => demo::worker(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

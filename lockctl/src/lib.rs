//! The command `lockctl`: runs commands under locks shared between processes, and lists locks and their owners.
//!
//! ```console
//! $ lockctl run 3 -- make install             # under lock 3 of the store shm:lockctl-UID
//! $ lockctl run -w 10 3 -- make install       # waits ten seconds at most; then exits with 1 and names the owner
//! $ lockctl list --held
//!  ID  LABEL  ALLOCATED    PID    TID  COMMAND                                WAITERS
//!   3         no         12345  12345  lockctl run 3 -- make install
//! $ lockctl why 3                             # the holder, its present activity, and the waiting processes
//! $ lockctl watch                             # the same for every lock, live, with what is in trouble first
//! $ lockctl -s shm:/run/my-engine/locks list --json
//! ```
//!
//! `lockctl --help` lists the commands and the exit codes, and `lockctl man` prints the manual. An error is one line on stderr, and an
//! exit code for its kind ([`ExitStatus`]).
//!
//! # With your own backend
//! The `main` of the command is a function of this library, because only programs that link a backend have it. A `lockctl` with
//! your own backend is a crate with two lines:
//!
//! ```text
//! use my_backend as _;
//! fn main() -> std::process::ExitCode { lockctl::main() }
//! ```
//!
//! Without the default features of this crate it has no other backend, and no `lockctl watch`, which the feature `watch` adds.
#![deny(unsafe_code)]

mod backends;
mod cli;
mod demo;
mod docs;
mod entries;
mod exit;
mod facts;
mod info;
mod list;
mod manage;
mod output;
mod run;
mod store;
mod sys;
#[cfg(feature = "watch")]
mod watch;
mod why;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind as Usage;

use cli::{Cli, Command};
use exit::Failure;

pub use exit::ExitStatus;

/// Runs `lockctl` with the arguments of the process, and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // An error is ignored: the reader has closed the pipe.
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
    let store_args = cli.store_args;
    match cli.command {
        Command::Run(args) => return run::run(&store_args, &args),
        Command::Allocate(args) => manage::allocate(&store_args, &args)?,
        Command::Free(args) => return manage::free(&store_args, &args),
        Command::FreeAll(_) => manage::free_all(&store_args)?,
        Command::List(args) => list::list(&store_args, &args)?,
        Command::Why(args) => why::why(&store_args, &args)?,
        #[cfg(feature = "watch")]
        Command::Watch(args) => watch::watch(&store_args, &args)?,
        Command::Info(args) => info::info(&store_args, &args)?,
        Command::Backends(args) => backends::backends(&args)?,
        Command::Reconcile(args) => manage::reconcile(&store_args, &args)?,
        Command::Break(args) => manage::break_lock(&store_args, &args)?,
        Command::Create => manage::create(&store_args)?,
        Command::Migrate => manage::migrate(&store_args)?,
        Command::Destroy(_) => manage::destroy(&store_args)?,
        Command::Demo(args) => return demo::demo(&store_args, &args),
        Command::Completions(args) => docs::completions(args.shell)?,
        Command::Man => docs::man()?,
        Command::DemoCleanup(args) => demo::cleanup(&args)?,
        Command::DemoWorker(args) => demo::worker(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

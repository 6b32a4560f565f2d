//! The command `lockctl`: runs commands under locks shared between processes, and lists locks and their owners.
//!
//! ```console
//! $ lockctl run 3 -- make install             # under lock 3 of the user's default store
//! $ lockctl run -w 10 3 -- make install       # waits ten seconds at most; then exits with 1 and names the owner
//! $ lockctl run nightly ./backup              # under the lock with this name, which is allocated on first use
//! $ lockctl run /run/backup.lock ./backup     # under the lock of a file, as with flock(1)
//! $ lockctl list --held
//! ID  STATE  HELD BY                              HELD FOR  WAITERS  LABEL  ALLOCATED  ALLOCATED BY  ALIVE
//!  3  held   12345 lockctl run 3 -- make install                            no
//! $ lockctl why 3                             # the holder, its present activity, and the waiting processes
//! $ lockctl graph                             # the waiting threads, the holders, and every deadlock
//! $ lockctl watch                             # the same for all locks, live, with those in trouble first
//! $ lockctl --store shm:/run/my-engine/locks list --json
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
mod capacity;
mod cli;
mod default_store;
mod demo;
mod destroy;
mod docs;
mod doctor;
mod entries;
mod exit;
mod facts;
mod graph;
mod info;
mod list;
mod manage;
mod metrics;
mod output;
mod path_lock;
mod run;
mod store;
mod sys;
mod target;
#[cfg(feature = "watch")]
mod watch;
mod why;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::error::ErrorKind as Usage;

use cli::{Cli, Command};
use exit::Failure;

pub use exit::ExitStatus;

/// Runs `lockctl` with the arguments of the process, and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os().collect()) {
        Ok(cli) => cli,
        Err(error) => {
            // An error is ignored: the reader has closed the pipe.
            let _ = match io::stderr().is_terminal() || !error.use_stderr() {
                true => error.print(),
                // By one system call.
                false => io::stderr().write_all(error.render().to_string().as_bytes()),
            };
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
    if !matches!(cli.command, Command::Why(_) | Command::Graph(_)) {
        store_args.check_single()?;
    }
    match cli.command {
        Command::Run(args) => return run::run(&store_args, &args),
        Command::Fd(args) => run::lock_descriptor(&args)?,
        Command::Allocate(args) => manage::allocate(&store_args, &args)?,
        Command::Free(args) => return manage::free(&store_args, &args),
        Command::FreeAll(_) => manage::free_all(&store_args)?,
        Command::Reclaim(args) => manage::reclaim(&store_args, &args)?,
        Command::List(args) => list::list(&store_args, &args)?,
        Command::Why(args) => why::why(&store_args, &args)?,
        Command::Graph(args) => graph::graph(&store_args, &args)?,
        Command::Doctor(args) => return doctor::doctor(&store_args, &args),
        Command::Metrics => metrics::metrics(&store_args)?,
        #[cfg(feature = "watch")]
        Command::Watch(args) => watch::watch(&store_args, &args)?,
        Command::Info(args) => info::info(&store_args, &args)?,
        Command::Backends(args) => backends::backends(&args)?,
        Command::Reconcile(args) => manage::reconcile(&store_args, &args)?,
        Command::Break(args) => manage::break_lock(&store_args, &args)?,
        Command::Create => manage::create(&store_args)?,
        Command::Migrate => manage::migrate(&store_args)?,
        Command::Grow(args) => manage::grow(&store_args, &args)?,
        Command::Destroy(args) => destroy::destroy(&store_args, &args)?,
        Command::Demo(args) => return demo::demo(&store_args, &args),
        Command::Completions(args) => docs::completions(args.shell)?,
        Command::Man => docs::man()?,
        Command::DemoCleanup(args) => demo::cleanup(&args)?,
        Command::DemoWorker(args) => demo::worker(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

//! What a developer of this repository runs, as `cargo xtask COMMAND`.
#![forbid(unsafe_code)]

mod arm64;
mod bench;
mod ci;
mod copy;
mod fuzz;
mod journal;
mod matrix;
mod metadata;
mod model;
mod mutants;
mod new_backend;
mod nightly;
mod outside;
mod platforms;
mod shell;
mod soak;
mod sweep;
mod test;
mod tidy;
mod tsan;
mod weak;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// For sweeps.
#[global_allocator]
static MEMORY: lock_conformance::sweep::Memory = lock_conformance::sweep::Memory;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "What a developer of this repository runs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the tests: all of them, or the suite of one backend
    Test {
        /// The scheme of a backend, or a backend crate, with or without "lock-" in front
        #[arg(long)]
        backend: Option<String>,
    },
    /// Run everything that a change has to pass
    Ci {
        /// `cargo test --workspace` has just been run: leave it away
        #[arg(long)]
        tested: bool,
    },
    /// Write the table of capabilities into README.md
    Matrix {
        /// Only say whether it is up to date
        #[arg(long)]
        check: bool,
    },
    /// Write a complete backend crate, to start from
    NewBackend {
        /// The crate's name, for example my-backend
        name: String,
        /// Where to put it [default: beside this repository]
        #[arg(long)]
        path: Option<PathBuf>,
    },
    /// Check what the compiler and clippy do not: no files of a crate import each other in a circle
    Tidy,
    /// Build and test a backend crate outside of the workspace
    Outside,
    /// Check the code for the other platforms, and run the suites with musl
    Platforms,
    /// Boot Debian's arm64 kernel in an emulator, and run the suites of shm, file and sem in it
    Arm64(arm64::Args),
    /// Kill a process at every instruction and every system call of every operation, and look what is lost
    Sweep(sweep::Args),
    /// Kill processes again and again, most of them while they own a lock, and look what is lost
    Soak(soak::Args),
    /// Plant one wrong change after the other in a copy, and look which check notices it
    Mutants(mutants::Args),
    /// Visit every state that a few threads can bring locks and the table into, with deaths at every step
    Model(model::Args),
    /// Run the lock and allocation code under Miri, whose memory is weaker than that of x86
    Weak(weak::Args),
    /// Run threads that use locks of each backend under ThreadSanitizer
    Tsan,
    /// Feed anything to stores, URLs and sequences of operations, with cargo-fuzz, and look what breaks
    Fuzz(fuzz::Args),
    /// Measure what locks cost, side by side with what one would use otherwise
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Test { backend } => test::run(backend.as_deref()),
        Command::Ci { tested } => ci::run(tested),
        Command::Matrix { check } => matrix::run(check),
        Command::NewBackend { name, path } => new_backend::run(&name, path),
        Command::Tidy => tidy::run(),
        Command::Outside => outside::run(),
        Command::Platforms => platforms::run(),
        Command::Arm64(args) => arm64::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Mutants(args) => mutants::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Weak(args) => weak::run(&args),
        Command::Tsan => tsan::run(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Bench(args) => bench::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

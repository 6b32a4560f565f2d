//! The commands for developers of this repository, run as `cargo xtask COMMAND`.
#![forbid(unsafe_code)]

mod api;
mod arm64;
mod backends;
mod bench;
mod ci;
mod copy;
mod examples;
mod faults;
mod fuzz;
mod install;
mod journal;
mod matrix;
mod metadata;
mod model;
mod msrv;
mod mutants;
mod new_backend;
mod nightly;
mod outside;
mod package;
mod platforms;
mod readme;
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

/// The allocator that sweeps need.
#[global_allocator]
static MEMORY: lock_conformance::sweep::Memory = lock_conformance::sweep::Memory;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Commands for developers of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all tests, or the suite of one backend
    Test {
        /// Scheme or crate of a backend; the prefix "lock-" is optional
        #[arg(long)]
        backend: Option<String>,
    },
    /// Run all checks that a change has to pass
    Ci {
        /// Skip the tests, because `cargo test --workspace` has just passed
        #[arg(long)]
        tested: bool,
    },
    /// Write the table of capabilities into README.md
    Matrix,
    /// Write the README of each published crate from its documentation
    Readme,
    /// List the public items of each published library in docs/api
    Api {
        /// Fail if a listing is out of date, and change no file
        #[arg(long)]
        check: bool,
    },
    /// Write a complete backend crate as a template
    NewBackend {
        /// Name of the crate, for example my-backend
        name: String,
        /// Directory of the crate [default: beside this repository]
        #[arg(long)]
        path: Option<PathBuf>,
    },
    /// Check rules that the compiler and clippy do not check: import cycles in a crate, file names of backends, out-of-date documents
    Tidy,
    /// Build and run crates outside the workspace: the program of README.md, a backend from the template, and the example backend
    Outside,
    /// Run the examples: a backend by feature, and a static library in a program in C
    Examples,
    /// Package all crates, build the packages, and run the tests of the packaged lock-core
    Package,
    /// Check the published crates with the lowest Rust version that they support
    Msrv,
    /// Check the code for the other platforms, and run the suites with musl
    Platforms,
    /// Run the suites of shm, file and sem on Debian's arm64 kernel in an emulator
    Arm64(arm64::Args),
    /// Kill a process at every instruction and system call of every operation, and check for lost locks and ids
    Sweep(sweep::Args),
    /// Kill many processes, most of them owners of a lock, and check for lost locks
    Soak(soak::Args),
    /// Plant wrong changes one at a time in a copy, and report which check detects each
    Mutants(mutants::Args),
    /// Explore every interleaving of a few threads in locks and the table, with deaths at every step
    Model(model::Args),
    /// Run the lock and allocation code under Miri, with weaker memory than that of x86
    Weak(weak::Args),
    /// Run threads that use locks of each backend under ThreadSanitizer
    Tsan,
    /// Fuzz stores, URLs and sequences of operations with cargo-fuzz
    Fuzz(fuzz::Args),
    /// Break servers, networks and clients of etcd and postgres, and check the histories of their locks
    Faults(faults::Args),
    /// Measure the cost of locks and of their alternatives
    Bench(bench::Args),
    /// Install lockctl with a short start, for scripts that run many short commands
    Install(install::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Test { backend } => test::run(backend.as_deref()),
        Command::Ci { tested } => ci::run(tested),
        Command::Matrix => matrix::run(),
        Command::Readme => readme::run(),
        Command::Api { check } => api::run(check),
        Command::NewBackend { name, path } => new_backend::run(&name, path),
        Command::Tidy => tidy::run(),
        Command::Outside => outside::run(),
        Command::Examples => examples::run(),
        Command::Package => package::run(),
        Command::Msrv => msrv::run(),
        Command::Platforms => platforms::run(),
        Command::Arm64(args) => arm64::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Mutants(args) => mutants::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Weak(args) => weak::run(&args),
        Command::Tsan => tsan::run(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Faults(args) => faults::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Install(args) => install::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

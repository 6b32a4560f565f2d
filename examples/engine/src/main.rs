//! A container engine without a daemon: each command is a process, which may be killed at any instruction.
//!
//! ```text
//! engine DIR create NAME
//! engine DIR remove NAME
//! engine DIR list
//! ```
//!
//! The database `DIR/containers.db` has a row for each container, and each container has a directory and a lock. A command that
//! changes a container holds its lock. Each command first repairs what killed commands left behind (`reconcile.rs`).
#![forbid(unsafe_code)]

mod commands;
mod engine;
mod reconcile;

use std::error::Error;
use std::process::ExitCode;

use engine::Engine;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("engine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Result<()> {
    let [dir, command @ ..] = args else { return Err("usage: engine DIR create|remove|list [NAME]".into()) };
    let mut engine = Engine::open(dir.as_ref())?;
    reconcile::run(&mut engine)?;
    match command {
        ["create", name] => commands::create(&mut engine, name),
        ["remove", name] => commands::remove(&mut engine, name),
        ["list"] => commands::list(&engine),
        _ => Err(format!("unknown command {command:?}").into()),
    }
}

//! What is special about semaphores: sets and their limits, IPC namespaces, undo across `exec`, units that other programs
//! change, and breaking.
//!
//! The binary runs itself again as a peer. A peer says lines on its standard output and is told lines on its standard input;
//! it ends with that. Nothing sleeps to wait for another.

mod anonymous;
mod limits;
mod peer;
mod posix;
mod sets;
mod undo;
mod units;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use self::peer::{Peer, Store};

fn main() -> ExitCode {
    // What hangs is killed, and all who wait for it fail.
    nix::unistd::alarm::set(if std::env::args().any(|argument| argument == peer::MARK) { 200 } else { 300 });
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((mark, rest)) = arguments.split_first()
        && mark == peer::MARK
    {
        return peer::run(rest);
    }
    let namespaces = Peer::start(&["namespace"]).says() == "yes";
    let all = [sets::trials(), limits::trials(), undo::trials(), units::trials(), posix::trials(), anonymous::trials()];
    let trials = all.into_iter().flatten();
    let trials = trials.map(|test| test.into_trial(namespaces)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test, and where it runs.
struct Test {
    name: &'static str,
    run: fn(),
    /// In a peer that has an IPC namespace of its own.
    alone: bool,
}

impl Test {
    fn into_trial(self, namespaces: bool) -> Trial {
        let Self { name, run, alone } = self;
        let trial = Trial::test(name, move || {
            if !alone {
                run();
                return Ok(());
            }
            let (success, output) = Peer::start(&["scenario", name]).ends();
            if success { Ok(()) } else { Err(output.into()) }
        });
        let skipped = alone && !namespaces;
        if skipped { trial.with_kind("needs an IPC namespace").with_ignored_flag(true) } else { trial }
    }
}

macro_rules! tests {
    ($($(#[$alone:ident])? $name:ident,)+) => {
        pub(crate) fn trials() -> Vec<crate::Test> {
            vec![$(crate::Test { name: stringify!($name), run: $name, alone: !<[&str]>::is_empty(&[$(stringify!($alone),)?]) },)+]
        }
    };
}

use tests;

//! Tests specific to semaphores: sets and their limits, IPC namespaces, undo across `exec`, units that other programs change, and
//! breaking, and the order of waiters.
//!
//! The binary runs itself again as a peer. A peer reports lines on its standard output, and reads commands from its standard
//! input until the input is closed. Tests wait for these lines, and do not sleep.

mod anonymous;
mod limits;
mod order;
mod peer;
mod posix;
mod sets;
mod undo;
mod units;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use self::peer::{Peer, Store};

fn main() -> ExitCode {
    // A peer that hangs is killed first, which ends the wait of its test.
    nix::unistd::alarm::set(if std::env::args().any(|argument| argument == peer::MARK) { 200 } else { 300 });
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((mark, rest)) = arguments.split_first()
        && mark == peer::MARK
    {
        return peer::run(rest);
    }
    let namespaces = Peer::start(&["namespace"]).next_line() == "yes";
    let all = [
        sets::trials(),
        limits::trials(),
        undo::trials(),
        units::trials(),
        posix::trials(),
        order::trials(),
        anonymous::trials(),
    ];
    let trials = all.into_iter().flatten();
    let trials = trials.map(|test| test.into_trial(namespaces)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test, and whether it needs a separate process.
struct Test {
    name: &'static str,
    run: fn(),
    /// Runs in a peer in a new IPC namespace.
    isolated: bool,
}

impl Test {
    fn into_trial(self, namespaces: bool) -> Trial {
        let Self { name, run, isolated } = self;
        let trial = Trial::test(name, move || {
            if !isolated {
                run();
                return Ok(());
            }
            let (success, output) = Peer::start(&["scenario", name]).finish();
            if success { Ok(()) } else { Err(output.into()) }
        });
        let skipped = isolated && !namespaces;
        if skipped { trial.with_kind("needs an IPC namespace").with_ignored_flag(true) } else { trial }
    }
}

macro_rules! tests {
    ($($(#[$isolated:ident])? $name:ident,)+) => {
        pub(crate) fn trials() -> Vec<crate::Test> {
            vec![$(crate::Test { name: stringify!($name), run: $name, isolated: !<[&str]>::is_empty(&[$(stringify!($isolated),)?]) },)+]
        }
    };
}

use tests;

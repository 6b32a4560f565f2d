//! What the tests with servers share.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod proxy;

use std::fmt::Display;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use lock_core::{OpenMode, Registry, Store};
use lock_servers::Etcd;

/// After this time something that is waited for does not happen any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs tests, or lists them as ignored if no server can be started.
pub(crate) fn run(tests: &[(&'static str, fn())]) -> ExitCode {
    let missing = Etcd::missing();
    let trials = tests.iter().map(|&(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(missing.is_some()).with_kind(missing.clone().unwrap_or_default())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// Starts a server.
pub(crate) fn start() -> Etcd {
    start_with(&[])
}

/// Starts a server with further arguments.
pub(crate) fn start_with(arguments: &[&str]) -> Etcd {
    Etcd::start(arguments).expect("the test is ignored without a server")
}

/// Runs etcdctl, and returns its output.
pub(crate) fn etcdctl(server: &Etcd, arguments: &[&str]) -> String {
    server.etcdctl(arguments).unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
}

/// Opens the store at this prefix of a server, and creates it if it is absent.
pub(crate) fn open(address: impl Display, rest: &str) -> Store {
    try_open(address, rest).expect("the store can be opened")
}

pub(crate) fn try_open(address: impl Display, rest: &str) -> lock_core::Result<Store> {
    let registry = Registry::default().merge([lock_etcd::BACKEND]).expect("one backend");
    Store::open(&registry, format!("etcd://{address}/{rest}").as_str(), OpenMode::OpenOrCreate)
}

/// Waits until something is true. The limit is only reached when it never is.
pub(crate) fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

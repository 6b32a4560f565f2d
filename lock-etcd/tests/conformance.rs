//! Runs the conformance suite on one server, with a prefix for each store.

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lock_conformance::Suite;

use lock_servers::Etcd;

fn main() -> ExitCode {
    lock_conformance::peer_if_asked(&[Arc::new(suite(String::new()))]);
    if let Some(lack) = Etcd::missing() {
        println!("no case is run; {lack}");
        return ExitCode::SUCCESS;
    }
    if env::args().any(|argument| argument == "--list") {
        return lock_conformance::main([suite(String::new())]);
    }
    let server = Etcd::start(&[]).expect("it is installed");
    let address = server.address().to_string();
    lock_conformance::main([suite(address)])
}

fn suite(address: String) -> Suite {
    // The shortest lease: the lock of a dead owner becomes free when it ends.
    let url = move |scratch: &Path| format!("etcd://{address}{}/store?ttl=2s", scratch.display());
    // Many cases wait for the end of sessions.
    Suite::new(lock_etcd::BACKEND, url).watchdog(Duration::from_secs(120))
}

//! Runs the conformance suite on a server that this process starts.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lock_conformance::Suite;
use lock_servers::Postgres;

static SERVER: OnceLock<Postgres> = OnceLock::new();

fn main() -> ExitCode {
    // Before the server starts: a peer is a process of this program, and gets the URL from the suite.
    lock_conformance::peer_if_asked(&[Arc::new(suite())]);
    if !std::env::args().any(|argument| argument == "--list") {
        match Postgres::start("max_connections = 1000\nmax_locks_per_transaction = 256") {
            Ok(server) => drop(SERVER.set(server)),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                return ExitCode::SUCCESS;
            }
        }
    }
    let code = lock_conformance::main([suite()]);
    if let Some(server) = SERVER.get() {
        server.finish();
    }
    code
}

fn suite() -> Suite {
    let url = |scratch: &Path| SERVER.get().expect("the server runs").url(&pool(scratch)) + "&ttl=6s";
    // Cases that stop a process wait for the end of its session, and each connection is a process of the server.
    Suite::new(lock_postgres::BACKEND, url).watchdog(Duration::from_secs(60))
}

/// Returns a name for each directory.
fn pool(scratch: &Path) -> String {
    let directory = scratch.parent().and_then(|parent| parent.canonicalize().ok());
    let path = directory.zip(scratch.file_name()).map_or(scratch.to_owned(), |(directory, name)| directory.join(name));
    path.to_string_lossy().trim_start_matches('/').replace('/', ".")
}

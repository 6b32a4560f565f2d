//! Runs the conformance suite.

use lock_conformance::Suite;

lock_conformance::main! {
    Suite::new(lock_podman::BACKEND, |scratch| format!("podman:{}", scratch.join("store").display()))
        .files(|scratch, _url| vec![scratch.join("store")])
        .fits_in(128 * 1024),
}

//! Runs the suite on the reference backends, which must pass.
//!
//! Together they claim and disclaim nearly every capability.

mod reference;

fn main() -> std::process::ExitCode {
    lock_conformance::main(reference::suites())
}

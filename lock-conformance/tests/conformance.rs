//! The suite on honest, simple backends: they have to pass, and between them they claim and disclaim nearly everything.

mod reference;

fn main() -> std::process::ExitCode {
    lock_conformance::main(reference::suites())
}

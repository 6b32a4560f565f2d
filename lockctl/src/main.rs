//! The command `lockctl` with the backends of this repository.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockctl::main()
}

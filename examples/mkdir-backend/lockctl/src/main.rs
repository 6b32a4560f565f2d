//! `lockctl` with the backend `mkdir`.

use std::process::ExitCode;

// Links the crate. Otherwise its backend is not registered.
use mkdir_backend as _;

fn main() -> ExitCode {
    lockctl::main()
}

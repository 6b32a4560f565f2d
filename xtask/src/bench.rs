//! `bench`: the comparison in `lock-any/benches/compare`, in a release build.

use crate::Result;
use crate::shell::{self, cargo};

pub(crate) fn run() -> Result<()> {
    shell::run(&mut cargo(["bench", "--package", "lock-any", "--bench", "compare"]))
}

//! `examples`: runs the examples that are no tests of the workspace.

use std::process::Command;

use crate::Result;
use crate::metadata::Metadata;
use crate::outside;
use crate::shell::{self, cargo, root};

pub(crate) fn run() -> Result<()> {
    by_feature()?;
    async_tasks()?;
    static_library()
}

/// Runs the program whose tasks hold a lock over `.await`, beside a second process.
fn async_tasks() -> Result<()> {
    let scratch = shell::scratch("async-")?;
    let args = ["run", "--quiet", "--package", "example-async", "--"];
    let printed = shell::read(cargo(args).arg(scratch.path()))?;
    if printed != "two processes made 160 of 160 increments\n" {
        return Err(format!("example-async printed {printed:?}").into());
    }
    Ok(())
}

/// Runs the program whose backend is a feature, with each feature.
fn by_feature() -> Result<()> {
    for feature in ["shm", "file", "sem"] {
        let scratch = shell::scratch("by-feature-")?;
        let args = ["run", "--quiet", "--package", "example-by-feature", "--no-default-features", "--features", feature, "--"];
        let printed = shell::read(cargo(args).arg(scratch.path()))?;
        let wanted = format!("held a lock of {feature}\n");
        if printed != wanted {
            return Err(format!("example-by-feature printed {printed:?}, not {wanted:?}").into());
        }
        let store = format!("{feature}:{}/locks", scratch.path().display());
        // A store of `sem` has a semaphore set besides its file.
        lock_any::open(&store)?.destroy()?;
    }
    Ok(())
}

/// Links the static library into a program in C, which locks in a store of each of its backends.
fn static_library() -> Result<()> {
    let scratch = shell::scratch("static-library-")?;
    let example = root().join("examples/static-library");
    let target = Metadata::load()?.target()?.join("static-library");
    outside::lint(&example, &target)?;
    shell::run(cargo(["build"]).current_dir(&example).env("CARGO_TARGET_DIR", &target))?;
    let program = scratch.path().join("program");
    let mut cc = Command::new("cc");
    cc.arg(example.join("main.c")).arg(target.join("debug/libexample_static_library.a"));
    shell::run(cc.args(["-Wall", "-Werror", "-lpthread", "-ldl", "-lm", "-o"]).arg(&program))?;
    let store = |scheme: &str| format!("{scheme}:{}/{scheme}", scratch.path().display());
    shell::run(Command::new(&program).args(["shm", "file", "mkdir"].map(store)))
}

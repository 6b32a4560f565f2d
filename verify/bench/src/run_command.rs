//! `lockctl run` beside flock(1), as whole processes that run `true` under an uncontended lock.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::effort::Effort;
use crate::promise;
use crate::rounds::{Subject, compare};
use crate::row::Row;
use crate::scratch::Scratch;
use crate::unit::Unit;

const GROUP: &str = "a command under a lock, as a whole process";
const STORE: &str = "run";

/// Measures the program `lockctl` as `cargo xtask install` builds it. A copy of this program would have another start.
pub(crate) fn rows(scratch: &Scratch, lockctl: Option<&Path>, effort: &Effort) -> Vec<Row> {
    let unmeasured = |why: String| vec![Row::unmeasured(GROUP, "lockctl run", Unit::Nanoseconds, why)];
    let Some(lockctl) = lockctl else {
        return unmeasured("no --lockctl FILE is given; cargo xtask bench builds one and gives it".to_owned());
    };
    for program in [Path::new("flock"), lockctl] {
        if let Err(error) = command(program).arg("--version").status() {
            return unmeasured(format!("{} cannot be run: {error}", program.display()));
        }
    }
    let store = scratch.create("shm", STORE, "");
    let url = store.url().to_string();
    let (file, other) = (scratch.path().join("flocked"), scratch.path().join("locked"));
    let in_store = |lock: &str| {
        let mut command = command(lockctl);
        command.args(["--store", &url, "run", lock, "--"]);
        command
    };
    let at_path = |program: &Path, arguments: &[&str], path: &Path| {
        let mut command = command(program);
        command.args(arguments).arg(path);
        command
    };
    let [flock, id, name, path] = compare(
        effort.rounds,
        [
            subject("flock FILE true", at_path(Path::new("flock"), &[], &file)),
            subject("lockctl run 3 -- true", in_store("3")),
            subject("lockctl run NAME -- true", in_store("nightly")),
            subject("lockctl run FILE true", at_path(lockctl, &["run"], &other)),
        ],
    );
    let rows = [id, name, path].map(|ours| ours.beside(&flock, GROUP, &*ours.name).promise(promise::RUN_TO_FLOCK));
    store.destroy().expect("it is there");
    rows.into()
}

/// A program without input and output. In the locale C, flock(1) reads no files of a locale, so that it starts faster.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").env_remove("LOCKCTL_STORE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs `true` with this command in front.
fn subject(name: &str, mut command: Command) -> Subject<'_> {
    command.arg("true");
    Subject::new(name, move || {
        let status = command.status().expect("the command starts");
        assert!(status.success(), "{command:?} failed: {status}");
    })
}

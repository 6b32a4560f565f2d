//! A scratch store, and the command on it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A scratch directory for a store. It is removed when it is dropped.
pub(crate) struct Scratch(TempDir);

/// The exit code, as a shell shows it (128 + N for signal N), and the output of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("lockctl-test-");
        Self(builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).expect("a scratch directory"))
    }

    /// Creates a scratch directory with a store.
    pub(crate) fn with_store() -> Self {
        let scratch = Self::new();
        scratch.ok(&["create"]);
        scratch
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The file of the store.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().join("locks")
    }

    pub(crate) fn url(&self) -> String {
        format!("shm:{}", self.file().display())
    }

    /// The command on this store.
    pub(crate) fn lockctl(&self, args: &[&str]) -> Command {
        let mut command = lockctl(args);
        command.env("LOCKCTL_STORE", self.url());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> CommandOutput {
        output_of(&mut self.lockctl(args))
    }

    /// Runs a command that must succeed without output on stderr. Returns its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!((output.code, output.err.as_str()), (Some(0), ""), "{args:?} {output:?}");
        output.out
    }

    /// Runs a command that must fail with this code and one line on stderr. Returns the line.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!((output.code, output.err.lines().count()), (Some(code), 1), "{args:?} {output:?}");
        assert!(output.err.starts_with("lockctl: "), "{output:?}");
        output.err
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).expect("JSON")
    }

    /// Returns the entry of a lock in the listing.
    pub(crate) fn entry(&self, id: u32) -> Option<Value> {
        let listing = self.json(&["list", "--json"]);
        listing["locks"].as_array().expect("locks").iter().find(|lock| lock["id"] == id).cloned()
    }

    /// Starts a command that holds the lock until it is released.
    pub(crate) fn hold(&self, id: &str) -> Held {
        Held::start(self.lockctl(&["run", id, "--", "sh", "-c", "echo $$; read line"]))
    }
}

/// The command without a store.
pub(crate) fn lockctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockctl"));
    command.args(args).env_remove("LOCKCTL_STORE").stdin(Stdio::null());
    command
}

pub(crate) fn output_of(command: &mut Command) -> CommandOutput {
    CommandOutput::from(command.output().expect("lockctl runs"))
}

impl From<Output> for CommandOutput {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Waits until the main thread of the process sleeps on a futex, and so waits for a lock.
pub(crate) fn await_wait(process: &mut Child) {
    let waits = |call: String| call.split(' ').next() == Some(&nix::libc::SYS_futex.to_string());
    while !std::fs::read_to_string(format!("/proc/{}/syscall", process.id())).is_ok_and(waits) {
        assert!(process.try_wait().expect("a child").is_none(), "it has ended");
        std::thread::yield_now();
    }
}

/// A running `lockctl run` whose command has printed its pid.
pub(crate) struct Held {
    pub(crate) process: Child,
    pub(crate) command: i32,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Held {
    /// Starts lockctl. The first line of the command is its pid.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped());
        Self::start_with_stdin(command)
    }

    /// Starts lockctl with the stdin that is set.
    pub(crate) fn start_with_stdin(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("lockctl runs");
        let mut stdout = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let command = line.trim().parse().expect("the pid of the command");
        Self { stdin: process.stdin.take(), process, command, stdout }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// Writes a line to the command, which ends it.
    pub(crate) fn release(mut self) -> CommandOutput {
        self.write_line();
        self.end()
    }

    /// Writes a line to the command.
    pub(crate) fn write_line(&mut self) {
        writeln!(self.stdin.as_mut().expect("a pipe")).expect("the command reads");
    }

    /// Waits until all processes with its stderr have ended. The stdin of the command stays open meanwhile.
    pub(crate) fn end(self) -> CommandOutput {
        let output = self.process.wait_with_output().expect("it ends");
        CommandOutput::from(output)
    }

    /// Reads the next line of the command; empty if all its processes have ended.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line
    }
}

//! Other processes of the benchmark: copies of this program with a role, which read orders from stdin.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The argument before the role.
pub(crate) const ROLE: &str = "--role";

/// A handle of a process with a role. Dropping it kills the process. The process also ends when its stdin is closed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(role: &str, scratch: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg(ROLE).arg(role).arg(scratch).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = (child.stdin.take(), child.stdout.take().expect("it is piped"));
        Ok(Self { child, orders, answers: BufReader::new(answers) })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn say(&mut self, line: &str) {
        let orders = self.orders.as_mut().expect("it is piped");
        orders.write_all(format!("{line}\n").as_bytes()).expect("the process reads its stdin");
    }

    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).expect("text");
        assert!(read != 0, "a process of the benchmark ended: its message is above");
        line.trim().to_owned()
    }

    /// Reads the numbers of an answer.
    pub(crate) fn numbers<const N: usize>(&mut self) -> [f64; N] {
        let line = self.answer();
        let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
        numbers.try_into().expect("as many numbers as were asked for")
    }

    /// Kills the process. Returns the time just before.
    pub(crate) fn kill(&mut self) -> Duration {
        let moment = now();
        self.child.kill().expect("it is ours");
        moment
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The orders to this process, until stdin is closed.
pub(crate) fn orders() -> impl Iterator<Item = String> {
    io::stdin().lines().map_while(Result::ok)
}

/// Sends an answer to the parent process.
pub(crate) fn tell(answer: &str) {
    println!("{answer}");
}

/// Returns the time of the monotonic clock, which all processes share.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a monotonic clock").into()
}

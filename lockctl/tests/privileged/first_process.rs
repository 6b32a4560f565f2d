//! lockctl as the first process of a PID namespace, and with a limit on processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;

use crate::surroundings::{Shared, USER};
use crate::{Check, LOCKCTL};

pub(crate) const OF_USERS: [(&str, Check); 3] = [
    ("a_signal_ends_the_wait_of_the_first_process", a_signal_while_waiting),
    ("the_first_process_exits_as_its_command_was_killed", a_killed_command),
    ("a_limit_of_two_processes_does_not_prevent_a_wait_and_a_run", two_processes),
];

/// A command that is killed if the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The pid of lockctl as the only child of `unshare`, after it sleeps.
fn await_sleep(parent: &Child) -> u32 {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    loop {
        let children = read(format!("/proc/{0}/task/{0}/children", parent.id()));
        if let Some(pid) = children.split_whitespace().next() {
            let futex = nix::libc::SYS_futex.to_string();
            if read(format!("/proc/{pid}/syscall")).split(' ').next() == Some(&futex) {
                return pid.parse().expect("a pid");
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn a_signal_while_waiting() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let url = format!("shm:{}/locks", scratch.path().display());
    let lock = lock_any::open_or_create(&url)?.retrieve(0)?;
    let guard = lock.lock()?;
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", LOCKCTL, "--store", &url, "run", "0", "--", "echo", "in"]);
    let mut waiter = Running(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let pid = await_sleep(&waiter.0);
    if !Command::new("kill").args(["-TERM", &pid.to_string()]).status()?.success() {
        return Err("kill failed".into());
    }
    let status = waiter.0.wait()?;
    let mut out = String::new();
    BufReader::new(waiter.0.stdout.take().expect("a pipe")).read_line(&mut out)?;
    if status.code() != Some(143) || !out.is_empty() {
        return Err(format!("{status}, {out:?}").into());
    }
    Ok(guard.unlock()?)
}

fn a_killed_command() -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let url = format!("shm:{}/locks", scratch.path().display());
    // A shell may ignore SIGINT, SIGQUIT and SIGHUP for the tests.
    for (signal, code) in [("TERM", 143), ("USR1", 138), ("KILL", 137)] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", LOCKCTL, "--store", &url, "run", "-q", "3", "--", "sh", "-c"]);
        let status = command.arg(format!("kill -{signal} $$")).status()?;
        if status.code() != Some(code) {
            return Err(format!("{signal}: {status}").into());
        }
    }
    Ok(())
}

/// lockctl and its command are the two processes. A thread of lockctl would be another one.
fn two_processes() -> Result<(), Failed> {
    let shared = Shared::new()?;
    let store = shared.path().join("store");
    std::fs::create_dir(&store)?;
    std::os::unix::fs::chown(&store, Some(USER + 2), Some(USER + 2))?;
    let url = format!("shm:{}/locks", store.display());
    let lockctl = |limit: &str, script: &str| {
        let user = (USER + 2).to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "prlimit", limit]).arg(shared.lockctl());
        command.args(["--store", &url, "run", "3", "--", "sh", "-c", script]).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut holder = Running(lockctl("--nproc=9", "echo in; read line").spawn()?);
    BufReader::new(holder.0.stdout.take().expect("a pipe")).read_line(&mut String::new())?;
    // The two processes of the holder count, too, and its witness.
    let mut waiter = Running(lockctl("--nproc=5", "exit 7").spawn()?);
    let mut line = String::new();
    let mut stderr = BufReader::new(waiter.0.stderr.take().expect("a pipe"));
    stderr.read_line(&mut line)?;
    drop(holder.0.stdin.take());
    let status = waiter.0.wait()?;
    if status.code() == Some(7) && line.contains("waiting for lock 3; held by pid") {
        return Ok(());
    }
    Err(format!("{status}: {line:?}").into())
}

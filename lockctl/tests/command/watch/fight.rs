//! Processes that fight over locks.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::scratch::Scratch;

/// Ten processes that acquire the locks 1, 2 and 3 again and again. They are killed when it is dropped.
pub(crate) struct Fight {
    shell: Child,
}

impl Fight {
    pub(crate) fn start(scratch: &Scratch) -> Self {
        let script = r#"
            for i in 0 1 2 3 4 5 6 7 8 9; do
                (while "$0" run $((i % 3 + 1)) -- sleep 0.01; do :; done) &
            done
            wait"#;
        let mut command = Command::new("sh");
        command.args(["-c", script, env!("CARGO_BIN_EXE_lockctl")]).env("LOCKCTL_STORE", scratch.url());
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { shell: command.spawn().expect("sh") }
    }

    /// Stops a process while it holds the lock, and waits until another one waits for it. Returns its pid.
    pub(crate) fn stop_holder(&self, scratch: &Scratch, id: u32) -> i32 {
        loop {
            let Some(pid) = holder(scratch, id) else { continue };
            if kill(Pid::from_raw(pid), Signal::SIGSTOP).is_err() {
                continue;
            }
            while state(pid).is_some_and(|state| state != 'T' && state != 'Z') {
                thread::yield_now();
            }
            // It may have released the lock before it stopped.
            if state(pid) == Some('T') && holder(scratch, id) == Some(pid) {
                while scratch.entry(id).is_none_or(|lock| lock["waiters"] == 0) {
                    thread::yield_now();
                }
                return pid;
            }
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }
}

impl Drop for Fight {
    fn drop(&mut self) {
        // The shell is not reaped yet, so no other group has its id.
        let _ = killpg(Pid::from_raw(self.shell.id() as i32), Signal::SIGKILL);
        let _ = self.shell.wait();
    }
}

fn holder(scratch: &Scratch, id: u32) -> Option<i32> {
    let lock = scratch.entry(id)?;
    lock["holder"]["pid"].as_i64().map(|pid| pid as i32)
}

/// Reads the state of a process from /proc/PID/stat.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

//! A private mount namespace, and lockctl and other programs in it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

/// A time limit that no test reaches.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// Mounts empty file systems that only this process and its children see.
pub(crate) fn mount_privately(paths: &[&str]) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    for path in paths {
        fs::create_dir_all(path).unwrap();
        mount(Some("tmpfs"), Path::new(path), Some("tmpfs"), MsFlags::empty(), Some("size=64m")).unwrap();
    }
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WATCHDOG, "after {WATCHDOG:?}, it is not true that {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A process that is killed on drop.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the end of the process, and returns whether it succeeded.
    pub(crate) fn end(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// lockctl on a store.
pub(crate) struct Lockctl {
    pub(crate) url: String,
}

impl Lockctl {
    pub(crate) fn on(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockctl"));
        command.args(["--store", &self.url]).args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let ran = self.command(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: ran.status.code(), out: text(ran.stdout), err: text(ran.stderr) }
    }

    /// Runs a command that must succeed. Returns its stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?} {ran:?}");
        ran.out
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Starts a command that holds a lock until its stdin is closed.
    pub(crate) fn hold(&self, id: &[&str]) -> Running {
        let mut command = self.command(&["run"]);
        command.args(id).args(["--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let running = Running::start(&mut command);
        wait_until("the lock is held", || {
            self.json(&["list", "--json"])["locks"].as_array().unwrap().iter().any(|lock| lock["holder"]["pid"] == running.id())
        });
        running
    }

    /// Waits until a process waits for a lock.
    pub(crate) fn wait_for_waiter(&self, pid: u32) {
        wait_until("the process waits", || {
            let waiting = lock_any::open(&self.url).unwrap().waiting().unwrap();
            waiting.waiters.iter().any(|waiter| waiter.thread.pid == pid)
        });
    }
}

/// Checks that there is a line with each of the texts, in this order.
pub(crate) fn has_lines(text: &str, wanted: &[&[&str]]) {
    let mut lines = text.lines();
    for words in wanted {
        let found = lines.any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "a line with {words:?} is missing, or in another place:\n{text}");
    }
}

//! LXC's own tools on the same lock. The tests run as root, whose run directory is `/run`. Each mounts a private file system
//! there.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{ErrorKind, Lock, OpenMode, Store, StoreUrl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::file_systems::mount_privately;

/// A time limit that no test reaches.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A container of LXC's tools, and its lock.
struct Container {
    scratch: tempfile::TempDir,
    lock: Lock,
}

impl Container {
    fn create() -> Self {
        mount_privately(Path::new("/run"), "size=1m");
        let scratch = tempfile::tempdir().unwrap();
        let container = Self { lock: lock_file::lxc(scratch.path(), "foo").unwrap(), scratch };
        let status = container.tool("lxc-create").args(["-t", "none"]).status().unwrap();
        assert!(status.success(), "lxc-create: {status}");
        assert!(container.lock_file().exists(), "LXC's lock file has another path");
        container
    }

    fn store(&self) -> Store {
        let url = StoreUrl::builder("lxc").path(self.scratch.path()).option("name", "foo").build().unwrap();
        Store::with_backend(&lock_file::LXC, &url, OpenMode::Open).unwrap()
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.arg("-P").arg(self.scratch.path()).args(["-n", "foo"]).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn lock_file(&self) -> PathBuf {
        Path::new("/run/lxc/lock").join(self.scratch.path().strip_prefix("/").unwrap()).join(".foo")
    }

    /// Starts a tool that holds the lock until the pipe is closed: it reads the container's configuration from the pipe.
    fn start_holder(&self) -> (Child, File) {
        let config = self.scratch.path().join("foo/config");
        fs::remove_file(&config).unwrap();
        mkfifo(&config, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let tool = self.tool("lxc-info").stderr(Stdio::null()).spawn().unwrap();
        // Returns when the tool has opened the other end.
        let pipe = File::options().write(true).open(&config).unwrap();
        fs::remove_file(&config).unwrap();
        fs::write(&config, "").unwrap();
        (tool, pipe)
    }

    /// Waits until a process blocks on the lock.
    fn wait_for_waiter(&self) {
        let inode = format!(":{} ", fs::metadata(self.lock_file()).unwrap().ino());
        wait_until("a process waits for the lock", || {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            locks.lines().any(|line| line.contains("->") && line.contains(&inode))
        });
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < WATCHDOG, "after {WATCHDOG:?}, it is not true that {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn tools_wait_for_a_held_lock() {
    let container = Container::create();
    for tool in ["lxc-info", "lxc-destroy"] {
        let guard = container.lock.lock().unwrap();
        let mut child = container.tool(tool).stderr(Stdio::piped()).spawn().unwrap();
        container.wait_for_waiter();
        let waits = container.store().waiting().unwrap();
        let waiting: Vec<_> = waits.waiters.iter().map(|waiter| waiter.thread.pid).collect();
        assert_eq!(waiting, [child.id()], "{tool}");
        assert_eq!(container.lock.held_by().holder().map(|holder| holder.pid), Some(std::process::id()));
        assert!(child.try_wait().unwrap().is_none(), "{tool} did not wait for the held lock");
        guard.unlock().unwrap();
        let status = child.wait().unwrap();
        let mut message = String::new();
        child.stderr.unwrap().read_to_string(&mut message).unwrap();
        assert!(status.success(), "{tool}: {status}: {message}");
    }
    assert!(!container.scratch.path().join("foo").exists(), "lxc-destroy did not remove the container");
}

pub(crate) fn an_acquisition_waits_for_a_tool() {
    let container = Container::create();
    let (mut tool, mut pipe) = container.start_holder();
    let lock = &container.lock;
    assert!(lock.try_lock().unwrap().is_none(), "the lock was granted while a tool holds it");
    let start = Instant::now();
    let error = lock.try_lock_for(Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut), "{error}");
    assert_eq!(error.holder().map(|holder| holder.pid), Some(tool.id()), "{error}");
    assert!(start.elapsed() >= Duration::from_millis(50), "the wait ended before the deadline");
    thread::scope(|scope| {
        let (begun, has_begun) = channel();
        let waiters = [
            scope.spawn(|| lock.lock().map(drop)),
            scope.spawn(move || {
                begun.send(()).unwrap();
                lock.try_lock_for(WATCHDOG).map(drop)
            }),
        ];
        has_begun.recv().unwrap();
        container.wait_for_waiter();
        let waits = container.store().waiting().unwrap();
        assert!(waits.waiters.iter().any(|waiter| waiter.thread.pid == std::process::id()), "{waits:?}");
        pipe.write_all(b"lxc.uts.name = foo\n").unwrap();
        drop(pipe);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
    });
    tool.wait().unwrap();
}

pub(crate) fn a_killed_tool_releases_the_lock() {
    let container = Container::create();
    let (mut tool, _pipe) = container.start_holder();
    assert!(container.lock.try_lock().unwrap().is_none(), "the lock was granted while a tool holds it");
    tool.kill().unwrap();
    let guard = container.lock.try_lock_for(WATCHDOG).unwrap();
    assert!(guard.recovered().is_none(), "a death was reported; the backend claims not to report deaths");
    guard.unlock().unwrap();
    tool.wait().unwrap();
}

//! Processes that execute the commands of a test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use lock_core::{Error, Lock, OpenMode, Registry};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, setuid};

pub(crate) const MARK: &str = "--peer-of-the-special-tests";

/// A store in a temporary directory. It is destroyed on drop.
pub(crate) struct Store {
    pub(crate) store: lock_core::Store,
    pub(crate) url: String,
    _directory: tempfile::TempDir,
}

impl Store {
    pub(crate) fn new(scheme: &str, options: &str) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let url = format!("{scheme}:{}/store{options}", directory.path().display());
        Self { store: open(&url, OpenMode::Create).unwrap(), url, _directory: directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        self._directory.path()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Fails if the test has destroyed the store.
        let _ = self.store.destroy();
    }
}

pub(crate) fn open(url: &str, mode: OpenMode) -> lock_core::Result<lock_core::Store> {
    lock_core::Store::open(&Registry::default().merge(lock_sem::BACKENDS)?, url, mode)
}

pub(crate) fn lock_of(url: &str, id: &str) -> Lock {
    open(url, OpenMode::Open).unwrap().retrieve(id.parse::<u32>().unwrap()).unwrap()
}

/// A process of this binary. It is killed on drop.
pub(crate) struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(MARK).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads the next line from the peer. The line is empty if the peer has ended.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Writes a line to the peer.
    pub(crate) fn send(&mut self, line: &str) {
        let input = self.input.as_mut().expect("the input of the peer is open");
        writeln!(input, "{line}").and_then(|()| input.flush()).unwrap();
    }

    /// Kills the peer and returns its process id.
    pub(crate) fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.pid()
    }

    /// Closes the input and waits for the peer. Returns whether it succeeded, and the rest of its output.
    pub(crate) fn finish(&mut self) -> (bool, String) {
        drop(self.input.take());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().success(), rest)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts peers and kills each at a different moment of the first 3 ms after its line `working`.
pub(crate) fn kill_at_random(rounds: u32, mut start: impl FnMut() -> Peer, mut after: impl FnMut()) {
    for round in 0..rounds {
        let mut peer = start();
        assert_eq!(peer.next_line(), "working");
        // A low-discrepancy sequence covers the interval evenly.
        let part = f64::from(round) * 0.618_033_988_749 % 1.0;
        let until = Instant::now() + Duration::from_micros((part * 3000.0) as u64);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        peer.kill();
        after();
    }
}

fn report(line: impl std::fmt::Display) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

fn read_command() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn enter_new_namespace() -> bool {
    unshare(CloneFlags::CLONE_NEWIPC).is_ok()
}

/// Runs a peer with these arguments.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["namespace"] => report(if enter_new_namespace() { "yes" } else { "no" }),
        ["scenario", name] => return scenario(name),
        ["hold", url, id] => hold(url, id),
        ["make_and_hold", url] => {
            open(url, OpenMode::Create).unwrap();
            hold(url, "0");
        }
        ["hold_and_exec", url, id] => hold_and_exec(url, id),
        ["wait", url, id] => wait(url, id),
        ["queue", url, id] => queue(url, id),
        ["open_elsewhere", url] => open_elsewhere(url),
        ["touch_runs", url, runs] => touch_runs(url, runs.parse().unwrap()),
        ["destroy", url] => destroy(url),
        ["repeat_and_exec", url, token_file, rounds] => {
            crate::undo::repeat_and_exec(url, Path::new(token_file), rounds.parse().unwrap());
        }
        ["fork"] => crate::anonymous::fork(),
        _ => panic!("unknown arguments {arguments:?}"),
    }
    ExitCode::SUCCESS
}

fn scenario(name: &str) -> ExitCode {
    assert!(enter_new_namespace(), "`main` checked that a namespace can be created");
    let all = [crate::sets::trials(), crate::limits::trials(), crate::undo::trials(), crate::units::trials()];
    let test = all.into_iter().flatten().find(|test| test.name == name).expect("a test has this name");
    match std::panic::catch_unwind(test.run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Holds the lock and executes commands until the input is closed.
fn hold(url: &str, id: &str) {
    let lock = lock_of(url, id);
    let mut held = Some(lock.lock().unwrap());
    report("held");
    loop {
        let command = read_command();
        let done = match command.as_str() {
            "unlock" => held.take().expect("the lock is held").unlock().map(|()| "unlocked"),
            "lock" => lock.try_lock().map(|guard| guard.map_or("busy", |_| "locked")),
            "leave undo" => unshare(CloneFlags::CLONE_SYSVSEM).map(|()| "left").map_err(|errno| Error::system("unshare", errno)),
            "leave IPC" => unshare(CloneFlags::CLONE_NEWIPC).map(|()| "left").map_err(|errno| Error::system("unshare", errno)),
            "become another user" => {
                setuid(Uid::from_raw(65_534)).map(|()| "became").map_err(|errno| Error::system("setuid", errno))
            }
            _ => break,
        };
        report(done.map_or_else(|error| format!("{:?}", error.details()), str::to_owned));
    }
}

fn hold_and_exec(url: &str, id: &str) {
    let lock = lock_of(url, id);
    let _guard = lock.lock().unwrap();
    report("held");
    read_command();
    // `cat` runs until its input is closed.
    panic!("{}", Command::new("cat").exec());
}

fn wait(url: &str, id: &str) {
    let lock = lock_of(url, id);
    report("waiting");
    match lock.lock() {
        Ok(mut guard) => {
            report(
                guard.recovered().map_or("got".to_owned(), |death| format!("got from {}", death.holder.as_ref().unwrap().pid)),
            );
            guard.mark_consistent().unwrap();
            read_command();
        }
        Err(error) => report(format!("{:?}", error.details())),
    }
}

/// Acquires and releases the lock, and reports the token.
fn queue(url: &str, id: &str) {
    let lock = lock_of(url, id);
    let guard = lock.lock().unwrap();
    let token = guard.token().expect("the backend has tokens");
    guard.unlock().unwrap();
    report(u64::from(token));
}

fn open_elsewhere(url: &str) {
    assert!(enter_new_namespace(), "`main` checked that a namespace can be created");
    match open(url, OpenMode::Open) {
        Ok(store) => {
            let lock = store.retrieve(0).unwrap();
            report(if lock.try_lock().unwrap().is_some() { "locked" } else { "busy" });
        }
        Err(error) => report(format!("{:?}", error.details())),
    }
}

fn touch_runs(url: &str, runs: u32) {
    let store = open(url, OpenMode::Open).unwrap();
    report("working");
    for run in 0..runs {
        let lock = store.retrieve(run * 1024).unwrap();
        drop(lock.lock().unwrap());
    }
    report("done");
    read_command();
}

fn destroy(url: &str) {
    let store = open(url, OpenMode::Open).unwrap();
    report("working");
    store.destroy().unwrap();
    read_command();
}

//! The live view as lines.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::fight::Fight;
use crate::scratch::{CommandOutput, Held, Scratch, lockctl};

/// A running `lockctl watch` whose output is a pipe.
struct Lines {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Lines {
    fn start(url: &str, args: &[&str]) -> Self {
        let mut command = lockctl(&["watch", "--interval", "0.1"]);
        command.args(args).env("LOCKCTL_STORE", url).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Returns the next line without its time.
    fn next(&mut self) -> String {
        let line = self.whole();
        let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let is_time = time.len() == "2000-01-01T00:00:00.000Z".len() && time.ends_with('Z') && time.as_bytes()[10] == b'T';
        assert!(is_time, "{line:?}");
        rest.to_owned()
    }

    fn whole(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Closes the pipe, and waits for the end.
    fn close(self) -> CommandOutput {
        drop(self.stdout);
        CommandOutput::from(self.child.wait_with_output().unwrap())
    }
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn a_stopped_holder_among_ten_processes_has_a_line_when_it_stops_and_when_it_goes_on() {
    let scratch = Scratch::with_store();
    let fight = Fight::start(&scratch);
    let pid = fight.stop_holder(&scratch, 2);
    let mut lines = Lines::start(&scratch.url(), &["--wait", "3600", "--hold", "3600"]);
    let first = lines.next();
    assert!(first.starts_with(&format!("{}: ", scratch.url())) && first.ends_with(", 1 in trouble"), "{first}");
    let trouble = lines.next();
    assert!(trouble.starts_with(&format!("lock 2 is in trouble: stopped, held by pid {pid} (")), "{trouble}");
    send(pid, Signal::SIGCONT);
    assert_eq!(lines.next(), "lock 2 is no longer in trouble: stopped");
    let output = lines.close();
    assert_eq!((output.code, output.err.as_str()), (Some(141), ""));
}

/// Ends the threads of a test, also if it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn two_threads_that_wait_for_each_other_are_a_deadlock() {
    let scratch = Scratch::with_store();
    let store = lock_any::open(scratch.url()).unwrap();
    let (both_hold, is_stopped) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        let stop = Stop(&is_stopped);
        for (own, other) in [(1, 2), (2, 1)] {
            let (own, other) = (store.retrieve(own).unwrap(), store.retrieve(other).unwrap());
            let (both_hold, is_stopped) = (&both_hold, &is_stopped);
            scope.spawn(move || {
                let _guard = own.lock().unwrap();
                both_hold.wait();
                while !is_stopped.load(Relaxed) {
                    let _ = other.try_lock_for(Duration::from_secs(1));
                }
            });
        }
        let mut lines = Lines::start(&scratch.url(), &["--wait", "3600", "--hold", "3600"]);
        let mut await_line = |text: &str| while !lines.next().contains(text) {};
        await_line("lock 1 is in trouble: deadlock, held by pid ");
        await_line("lock 2 is in trouble: deadlock, held by pid ");
        drop(stop);
        await_line("lock 1 is no longer in trouble: deadlock");
        lines.close();
    });
}

#[test]
fn the_lines_have_a_form_in_json() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "3", "--label", "web"]);
    let held = scratch.hold("3");
    let mut lines = Lines::start(&scratch.url(), &["--json", "--hold", "0"]);
    let mut next = || serde_json::from_str::<Value>(&lines.whole()).unwrap();
    let started = next();
    assert_eq!((&started["event"], &started["locks"], &started["store"]), (&"started".into(), &1.into(), &scratch.url().into()));
    // How long the holder sleeps is a lower bound of the hold, where the kernel says it.
    if started["troubles"] == 1 {
        let line = next();
        let wanted: [(&str, Value); 4] =
            [("event", "trouble".into()), ("id", 3.into()), ("condition", "long-hold".into()), ("label", "web".into())];
        for (key, value) in wanted {
            assert_eq!(line[key], value, "{line}");
        }
        assert_eq!(line["holder"]["pid"], held.pid(), "{line}");
        assert!(line["held_for_at_least"].is_number() && line["was"].is_null(), "{line}");
    }
    held.release();
    lines.close();
}

#[test]
fn a_store_that_is_removed_and_created_again_has_two_lines() {
    let scratch = Scratch::with_store();
    let mut lines = Lines::start(&scratch.url(), &[]);
    lines.next();
    scratch.ok(&["destroy", "--yes"]);
    let lost = lines.next();
    assert!(lost.starts_with("the store cannot be read, still trying: "), "{lost}");
    scratch.ok(&["create"]);
    let held = scratch.hold("3");
    let back = lines.next();
    assert!(back.starts_with("the store is back: "), "{back}");
    held.release();
    lines.close();
}

/// The lock of a dead holder stays held on this backend, until `break`.
#[test]
#[cfg(feature = "sem")]
fn a_dead_holder_is_trouble_until_its_lock_is_broken() {
    let scratch = Scratch::new();
    let url = format!("posix-sem:{}", scratch.file().display());
    let run = |args: &[&str]| crate::scratch::output_of(lockctl(args).env("LOCKCTL_STORE", &url));
    assert_eq!(run(&["create"]).code, Some(0));
    let mut lines = Lines::start(&url, &[]);
    lines.next();
    let mut command = lockctl(&["run", "3", "--", "sh", "-c", "echo $$; read line"]);
    command.env("LOCKCTL_STORE", &url);
    let held = Held::start(command);
    let pid = held.pid();
    send(pid, Signal::SIGKILL);
    held.end();
    let trouble = lines.next();
    assert!(trouble.starts_with(&format!("lock 3 is in trouble: dead, held by pid {pid} (")), "{trouble}");
    assert_eq!(run(&["break", "--yes", "3"]).code, Some(0));
    assert_eq!(lines.next(), "lock 3 is no longer in trouble: dead");
    lines.close();
    assert_eq!(run(&["destroy", "--yes"]).code, Some(0));
}

/// The next reading is an hour away.
#[test]
fn a_closed_pipe_ends_the_lines_at_once() {
    let scratch = Scratch::with_store();
    let mut command = scratch.lockctl(&["watch", "--interval", "3600"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with(" 0 locks held or waited for, 0 in trouble\n"), "{line}");
    let output = CommandOutput::from(child.wait_with_output().unwrap());
    assert_eq!((output.code, output.err.as_str()), (Some(141), ""));
}

#[test]
fn an_absent_store_and_a_bad_interval_are_errors() {
    let scratch = Scratch::with_store();
    scratch.fails(66, &["watch", "--store", "shm:/dev/shm/none-such"]);
    for interval in ["0", "0.05", "often"] {
        let output = scratch.run(&["watch", "--interval", interval]);
        assert_eq!((output.code, output.out.as_str()), (Some(64), ""), "{output:?}");
        assert!(output.err.contains("--interval"), "{output:?}");
    }
}

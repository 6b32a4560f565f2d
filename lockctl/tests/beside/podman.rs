//! podman's volumes, which need no container runtime, and programs in podman's place that answer as newer versions do.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{Lockctl, Running, has_lines, mount_privately, wait_until};

/// The number of attempts to stop podman while it holds a lock.
const ATTEMPTS: u32 = 50;

fn podman(args: &[&str]) -> Command {
    let mut command = Command::new("podman");
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn create_volume() {
    assert!(podman(&["volume", "create", "v"]).status().unwrap().success(), "podman failed");
}

/// Creates a volume with the lock 0.
fn volume() -> Lockctl {
    mount_privately(&["/dev/shm", "/run", "/var/lib/containers"]);
    create_volume();
    let lockctl = Lockctl::on("podman:libpod_lock");
    let listing = lockctl.json(&["list", "--json"]);
    assert_eq!((listing["locks"].as_array().unwrap().len(), &listing["locks"][0]["id"]), (1, &0.into()), "{listing}");
    lockctl
}

pub(crate) fn podman_waits_and_both_are_named() {
    let lockctl = volume();
    let holder = lockctl.hold(&["0"]);
    let removing = Running::start(&mut podman(&["volume", "rm", "v"]));
    lockctl.wait_for_waiter(removing.id());
    let lines: &[&[&str]] = &[
        &["lock 0 is held by", &format!("pid {} (", holder.id())],
        &[&format!("pid {} ", removing.id()), "(podman volume rm v) waits for it"],
    ];
    has_lines(&lockctl.ok(&["why", "0"]), lines);
    has_lines(&lockctl.ok(&["why"]), lines);
    let report = lockctl.json(&["why", "0", "--json"]);
    assert_eq!(report["locks"][0]["waiting"][0]["thread"]["pid"], removing.id(), "{report}");
    assert_eq!(lockctl.json(&["list", "--json"])["locks"][0]["waiters"], 1);
    drop(holder);
    assert!(removing.end(), "podman failed");
    assert_eq!(lockctl.json(&["list", "--json"])["locks"].as_array().unwrap().len(), 0);
}

/// Returns the thread id of the owner of the lock 0, or 0. Faster than a listing, because podman holds the lock for a short time.
fn owner(segment: &File) -> u32 {
    let mut word = [0; 4];
    segment.read_exact_at(&mut word, 64).unwrap();
    u32::from_ne_bytes(word) & nix::libc::FUTEX_TID_MASK
}

/// Starts two podman processes that wait for the lock 0, and stops the one that gets it. Returns it and the other one.
fn stopped_and_waiting(lockctl: &Lockctl) -> (Running, Running) {
    let segment = File::open("/dev/shm/libpod_lock").unwrap();
    for _ in 0..ATTEMPTS {
        let holder = lockctl.hold(&["0"]);
        let mut both = [(); 2].map(|()| Running::start(&mut podman(&["volume", "rm", "v"])));
        both.iter().for_each(|running| lockctl.wait_for_waiter(running.id()));
        drop(holder);
        while !both.iter_mut().all(|running| running.0.try_wait().unwrap().is_some()) {
            let task = |running: &Running| Path::new(&format!("/proc/{}/task/{}", running.id(), owner(&segment))).exists();
            let Some(at) = both.iter().position(task) else { continue };
            let pid = Pid::from_raw(both[at].id() as i32);
            kill(pid, Signal::SIGSTOP).unwrap();
            let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            wait_until("podman is stopped", || state().contains(") T ") || state().contains(") Z "));
            let waits = lock_any::open(&lockctl.url).unwrap().waiting().unwrap();
            if task(&both[at]) && waits.waiters.iter().any(|waiter| waiter.thread.pid == both[1 - at].id()) {
                let [first, second] = both;
                return if at == 0 { (first, second) } else { (second, first) };
            }
            kill(pid, Signal::SIGCONT).unwrap();
        }
        create_volume();
    }
    panic!("podman could not be stopped while it holds the lock in {ATTEMPTS} attempts");
}

pub(crate) fn a_stopped_podman_and_the_next_one_are_named() {
    let lockctl = volume();
    let (stopped, waiting) = stopped_and_waiting(&lockctl);
    let named = format!("pid {}", stopped.id());
    let lines: &[&[&str]] = &[
        &["lock 0 is held by", &named, "podman volume rm v"],
        &[&named, "is stopped by a signal", &format!("kill -CONT {}", stopped.id())],
        &[&format!("pid {} ", waiting.id()), "(podman volume rm v) waits for it"],
    ];
    has_lines(&lockctl.ok(&["why", "0"]), lines);
    has_lines(&lockctl.ok(&["why"]), lines);
    kill(Pid::from_raw(stopped.id() as i32), Signal::SIGCONT).unwrap();
    stopped.end();
    // The first one has removed the volume.
    waiting.end();
    assert!(lockctl.ok(&["why", "0"]).contains("lock 0 is free"));
}

/// Puts a shell script in the place of podman, beside a held lock.
fn in_place_of_podman(script: &str) -> (Lockctl, Running) {
    mount_privately(&["/dev/shm", "/mnt"]);
    let program = Path::new("/mnt/podman");
    fs::write(program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(program, Permissions::from_mode(0o755)).unwrap();
    let lockctl = Lockctl::on("podman:libpod_lock");
    lockctl.ok(&["create"]);
    let holder = lockctl.hold(&["7"]);
    (lockctl, holder)
}

fn why(lockctl: &Lockctl, args: &[&str]) -> String {
    let ran = lockctl.command(args).env("PATH", "/mnt:/usr/bin:/bin").output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

pub(crate) fn objects_are_named_by_lock_number() {
    let script = r#"case "$1 $2" in
        "ps "*) echo 4f0123456789abcdef;;
        "container inspect") echo '[{"Id": "4f0123456789abcdef", "Name": "web", "lockNumber": 7}]';;
        "volume ls") echo v;;
        "volume inspect") echo '[{"Name": "v", "LockNumber": 8}]';;
    esac"#;
    let (lockctl, _holder) = in_place_of_podman(script);
    let text = why(&lockctl, &["why", "7"]);
    has_lines(&text, &[&["podman's container web (4f0123456789) has this lock"]]);
    assert!(!text.contains("volume v"), "{text}");
    let report: serde_json::Value = serde_json::from_str(&why(&lockctl, &["why", "7", "--json"])).unwrap();
    assert_eq!(report["locks"][0]["objects"][0]["name"], "web", "{report}");
}

pub(crate) fn a_podman_that_hangs_is_killed() {
    let script = "trap '' TERM; case \"$1\" in volume) exit 0;; esac; echo $$ >/mnt/$1; sleep 1000 & wait; sleep 1000";
    let (lockctl, holder) = in_place_of_podman(script);
    let start = Instant::now();
    let text = why(&lockctl, &["why", "7"]);
    assert!(start.elapsed() < Duration::from_secs(30), "it waited for podman");
    has_lines(&text, &[&["lock 7 is held by", &format!("pid {} ", holder.id())], &["podman did not answer within 5 s"]]);
    for kind in ["ps", "pod"] {
        let pid: i32 = fs::read_to_string(Path::new("/mnt").join(kind)).unwrap().trim().parse().unwrap();
        wait_until("podman and its children are killed", || kill(Pid::from_raw(-pid), None).is_err());
    }
}

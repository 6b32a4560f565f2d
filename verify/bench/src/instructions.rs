//! The instructions of the hot paths, counted by valgrind. The counts are exact also on a noisy machine.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use lock_any::Lock;

use crate::peers::calls;
use crate::peers::glibc::Board;
use crate::peers::podman::Segment;
use crate::process;
use crate::scratch::Scratch;

pub(crate) const ROLE: &str = "hot";
/// Number of iterations. A second run has twice as many, and the difference excludes setup and cleanup.
const TIMES: u64 = 20_000;

/// The loops, each with its title.
const LOOPS: [(&str, &str); 16] = [
    ("shm", "shm: lock + unlock"),
    ("shm-send", "shm: lock_send + unlock"),
    ("shm-owned", "shm: lock_owned + unlock"),
    ("robust", "glibc mutex, process-shared, robust: lock + unlock"),
    ("bare", "bare compare-exchange + exchange"),
    ("shm-busy", "shm: try_lock that fails"),
    ("robust-busy", "glibc mutex, process-shared, robust: trylock that fails"),
    ("posix", "posix-sem: lock + unlock"),
    ("sem_t", "sem_wait + sem_post"),
    ("allocate-small", "shm: allocate + free, of 2,048, empty"),
    ("podman-small", "podman's scan: allocate + free, of 2,048, empty"),
    ("allocate", "shm: allocate + free, of 65,536, empty"),
    ("allocate-full", "shm: allocate + free, of 65,536, all but full"),
    ("podman-full", "podman's scan: allocate + free, of 65,536, all but full"),
    ("file", "file: lock + unlock, without the kernel's part"),
    ("ofd", "two bare fcntl (OFD), without the kernel's part"),
];

/// Counts all loops. Returns a table in Markdown.
pub(crate) fn table(scratch: &Path) -> Result<String, String> {
    let version = Command::new("valgrind").arg("--version").output();
    let version = version.map_err(|error| format!("cannot run valgrind ({error}); install it to count instructions"))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().replace("valgrind-", "valgrind ");
    let mut table = format!("Counted by {version}.\n\n| what | instructions |\n|---|--:|\n");
    for (name, title) in LOOPS {
        let [once, twice] = [TIMES, TIMES * 2].map(|times| count(scratch, name, times));
        let each = (twice?.saturating_sub(once?) as f64 / TIMES as f64).round();
        table += &format!("| {title} | {each} |\n");
    }
    Ok(table)
}

fn count(scratch: &Path, name: &str, times: u64) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe().expect("this program"));
    command.args([process::ROLE, ROLE]).arg(scratch).args([name, &times.to_string()]);
    let output = command.output().map_err(|error| error.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let counted = stderr.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    counted.filter(|_| output.status.success()).ok_or_else(|| format!("counting {name}: {}\n{stderr}", output.status))
}

/// Runs a loop, under valgrind.
pub(crate) fn run(arguments: &[String]) {
    let (name, times) = (arguments[0].as_str(), arguments[1].parse::<u64>().expect("a number"));
    let scratch = Scratch::new();
    let lock = |scheme| scratch.create(scheme, name, "").allocate("").expect("a lock");
    let pair = |lock: &Lock| drop(lock.lock().expect("it is uncontended"));
    match name {
        "shm" | "file" => {
            let lock = lock(name);
            (0..times).for_each(|_| pair(&lock));
        }
        "shm-send" => {
            let lock = lock("shm");
            (0..times).for_each(|_| drop(lock.lock_send().expect("it is uncontended")));
        }
        "shm-owned" => {
            let lock = lock("shm");
            (0..times).for_each(|_| drop(lock.lock_owned().expect("it is uncontended")));
        }
        "posix" => {
            let lock = lock("posix-sem");
            (0..times).for_each(|_| pair(&lock));
        }
        "sem_t" => {
            let board = Board::create(scratch.path());
            (0..times).for_each(|_| {
                board.semaphore().wait();
                board.semaphore().post();
            });
        }
        "robust" => {
            let board = Board::create(scratch.path());
            (0..times).for_each(|_| {
                board.robust().lock();
                board.robust().unlock();
            });
        }
        "bare" => {
            let word = AtomicU32::new(0);
            (0..times).for_each(|_| {
                black_box(word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok());
                black_box(word.swap(0, Ordering::Release));
            });
        }
        "ofd" => {
            let file = File::create_new(scratch.path().join(name)).expect("a file");
            (0..times).for_each(|_| {
                calls::ofd_lock(&file);
                calls::ofd_unlock(&file);
            });
        }
        "shm-busy" | "robust-busy" => {
            let (lock, board) = (lock("shm"), Board::create(scratch.path()));
            busy(&lock, &board, || match name {
                "shm-busy" => (0..times).for_each(|_| assert!(lock.try_lock().expect("an attempt").is_none())),
                _ => (0..times).for_each(|_| assert!(!board.robust().try_lock())),
            });
        }
        "allocate-small" | "allocate" | "allocate-full" => {
            let capacity = if name == "allocate-small" { 2_048 } else { 65_536 };
            let store = scratch.create("shm", name, &format!("?capacity={capacity}"));
            let ids = if name == "allocate-full" { capacity - 1 } else { 0 };
            (0..ids).for_each(|_| drop(store.allocate("").expect("there is room")));
            (0..times).for_each(|_| {
                let lock = store.allocate("").expect("there is room");
                store.free(lock.id()).expect("it is allocated");
            });
        }
        "podman-small" | "podman-full" => {
            let (locks, filled) = if name == "podman-small" { (2_048, 0) } else { (65_536, 65_535) };
            let segment = Segment::create(&scratch.path().join(name), locks);
            segment.fill(filled);
            (0..times).for_each(|_| segment.free(segment.allocate().expect("one is free")));
        }
        _ => panic!("there is no loop {name}"),
    }
}

/// While another thread has both.
fn busy(lock: &Lock, board: &Board, attempts: impl FnOnce()) {
    let (held, done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let guard = lock.lock().expect("it is uncontended");
            board.robust().lock();
            held.wait();
            done.wait();
            board.robust().unlock();
            drop(guard);
        });
        held.wait();
        attempts();
        done.wait();
    });
}

//! Undo across `exec`: a process that executes another program keeps its undo record.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use lock_core::{Cause, OpenMode};

use crate::peer::{self, Peer};
use crate::{Store, tests};

tests! {
    the_end_of_an_executed_program_does_not_release_the_next_owners_lock,
    waiters_acquire_the_lock_of_an_executed_program_one_at_a_time,
    the_kernel_releases_the_lock_of_an_owner_killed_after_a_takeover,
    owners_that_execute_themselves_exclude_each_other,
}

fn the_end_of_an_executed_program_does_not_release_the_next_owners_lock() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut late = Peer::start(&["hold_and_exec", &store.url, "0"]);
    assert_eq!(late.next_line(), "held");
    assert!(lock.try_lock().unwrap().is_none());
    late.send("go");
    let mut guard = lock.lock().unwrap();
    let death = guard.recovered().unwrap();
    assert_eq!((death.holder.as_ref().unwrap().pid, death.cause), (late.pid(), Cause::Executed));
    guard.mark_consistent().unwrap();
    assert!(late.finish().0, "the executed program failed");
    let mut other = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(other.next_line(), "waiting");
    let held = store.store.held().unwrap();
    assert_eq!(held[0].holder.as_ref().unwrap().pid, std::process::id());
    while lock.waiters() != Some(1) {
        std::thread::yield_now();
    }
    guard.unlock().unwrap();
    assert_eq!(other.next_line(), "got");
    assert!(lock.try_lock().unwrap().is_none());
}

fn waiters_acquire_the_lock_of_an_executed_program_one_at_a_time() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut late = Peer::start(&["hold_and_exec", &store.url, "0"]);
    assert_eq!(late.next_line(), "held");
    let mut waiters: Vec<_> = (0..4).map(|_| Peer::start(&["wait", &store.url, "0"])).collect();
    for waiter in &mut waiters {
        assert_eq!(waiter.next_line(), "waiting");
    }
    while lock.waiters() != Some(4) {
        std::thread::yield_now();
    }
    late.send("go");
    // The order of the waiters is not fixed. Each waiter releases the lock after its report.
    let reports: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = waiters
            .iter_mut()
            .map(|waiter| {
                scope.spawn(|| {
                    let report = waiter.next_line();
                    waiter.send("go");
                    report
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let death_report = format!("got from {}", late.pid());
    assert_eq!(reports.iter().filter(|report| **report == death_report).count(), 1, "{reports:?}");
    assert_eq!(reports.iter().filter(|report| *report == "got").count(), 3, "{reports:?}");
    assert!(late.finish().0);
    drop(lock.lock().unwrap());
}

fn the_kernel_releases_the_lock_of_an_owner_killed_after_a_takeover() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut late = Peer::start(&["hold_and_exec", &store.url, "0"]);
    assert_eq!(late.next_line(), "held");
    late.send("go");
    let mut second = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(second.next_line(), "held", "the second process did not take the lock over");
    let second = second.kill();
    let guard = lock.try_lock().unwrap().expect("the kernel releases the lock of a dead owner");
    assert_eq!(guard.recovered().unwrap().holder.as_ref().unwrap().pid, second);
    assert!(late.finish().0);
}

fn owners_that_execute_themselves_exclude_each_other() {
    let store = Store::new("sem", "");
    assert_exclusion(&store, 4, 100);
}

/// Asserts that processes exclude each other. Each owner writes its token to a file and checks that no other process overwrites
/// it. Then it releases the lock, or executes itself while it holds the lock.
pub(crate) fn assert_exclusion(store: &Store, processes: u64, rounds: u64) {
    let lock = store.store.retrieve(0).unwrap();
    let before = lock.lock().unwrap().token().unwrap().get();
    let token_file = store.directory().join("token");
    std::fs::write(&token_file, [0; 8]).unwrap();
    let arguments = ["repeat_and_exec", &store.url, token_file.to_str().unwrap(), &rounds.to_string()].map(str::to_owned);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut peers: Vec<_> = (0..processes).map(|_| Peer::start(&arguments)).collect();
    for peer in &mut peers {
        let (success, output) = peer.finish();
        assert!(success, "{output}");
    }
    let acquisitions = lock.lock().unwrap().token().unwrap().get() - before - 1;
    assert_eq!(acquisitions, processes * rounds, "the number of tokens differs from that of acquisitions");
}

pub(crate) fn repeat_and_exec(url: &str, token_file: &Path, rounds: u64) {
    let store = peer::open(url, OpenMode::Open).unwrap();
    let lock = store.retrieve(0).unwrap();
    let file = File::options().read(true).write(true).open(token_file).unwrap();
    for left in (0..rounds).rev() {
        let guard = lock.lock().unwrap();
        let token = guard.token().unwrap().get();
        let mine = token.to_ne_bytes();
        file.write_all_at(&mine, 0).unwrap();
        for _ in 0..3 {
            std::thread::yield_now();
            let mut found = [0; 8];
            file.read_exact_at(&mut found, 0).unwrap();
            assert_eq!(found, mine, "another process has the lock as well");
        }
        if !token.is_multiple_of(3) {
            continue;
        }
        if left == 0 {
            return;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(peer::MARK).args(["repeat_and_exec", url, token_file.to_str().unwrap(), &left.to_string()]);
        panic!("{}", command.exec());
    }
}

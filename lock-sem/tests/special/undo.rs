//! What the kernel undoes, and when it does not: a program that executes another keeps its undo.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use lock_core::{Cause, OpenMode};

use crate::peer::{self, Peer};
use crate::{Store, tests};

tests! {
    the_late_end_of_an_executed_program_releases_nobodys_lock,
    waiters_get_the_lock_of_an_executed_program_in_turn,
    an_owner_that_is_killed_after_a_takeover_is_undone_by_the_kernel,
    owners_that_execute_themselves_at_any_time_let_one_in_at_a_time,
}

fn the_late_end_of_an_executed_program_releases_nobodys_lock() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut late = Peer::start(&["hold_and_exec", &store.url, "0"]);
    assert_eq!(late.says(), "held");
    assert!(lock.try_lock().unwrap().is_none());
    late.hears("go");
    let mut guard = lock.lock().unwrap();
    let death = guard.recovered().unwrap();
    assert_eq!((death.holder.as_ref().unwrap().pid, death.cause), (late.pid(), Cause::Executed));
    guard.mark_consistent().unwrap();
    assert!(late.ends().0, "the other program ended only now");
    let mut other = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(other.says(), "waiting");
    let held = store.store.held().unwrap();
    assert_eq!(held[0].holder.as_ref().unwrap().pid, std::process::id());
    while lock.waiters() != Some(1) {
        std::thread::yield_now();
    }
    guard.unlock().unwrap();
    assert_eq!(other.says(), "got");
    assert!(lock.try_lock().unwrap().is_none());
}

fn waiters_get_the_lock_of_an_executed_program_in_turn() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut late = Peer::start(&["hold_and_exec", &store.url, "0"]);
    assert_eq!(late.says(), "held");
    let mut waiters: Vec<_> = (0..4).map(|_| Peer::start(&["wait", &store.url, "0"])).collect();
    for waiter in &mut waiters {
        assert_eq!(waiter.says(), "waiting");
    }
    while lock.waiters() != Some(4) {
        std::thread::yield_now();
    }
    late.hears("go");
    // Which of them is first is not known; each that got it is let go when it says so, and told of nobody but its predecessor's
    // death.
    let told: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = waiters
            .iter_mut()
            .map(|waiter| {
                scope.spawn(|| {
                    let said = waiter.says();
                    waiter.hears("go");
                    said
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let news = format!("got from {}", late.pid());
    assert_eq!(told.iter().filter(|said| **said == news).count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|said| *said == "got").count(), 3, "{told:?}");
    assert!(late.ends().0);
    drop(lock.lock().unwrap());
}

fn an_owner_that_is_killed_after_a_takeover_is_undone_by_the_kernel() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut late = Peer::start(&["hold_and_exec", &store.url, "0"]);
    assert_eq!(late.says(), "held");
    late.hears("go");
    let mut second = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(second.says(), "held", "it took over, whose undo the kernel knows from now on");
    let second = second.kill();
    let guard = lock.try_lock().unwrap().expect("the kernel gave it back when its owner died");
    assert_eq!(guard.recovered().unwrap().holder.as_ref().unwrap().pid, second);
    assert!(late.ends().0);
}

fn owners_that_execute_themselves_at_any_time_let_one_in_at_a_time() {
    let store = Store::new("sem", "");
    let_one_in_at_a_time(&store, 4, 100);
}

/// Has processes enter the critical section. Each writes the token of its turn there, and checks that it stays. Then it leaves,
/// or executes itself inside.
pub(crate) fn let_one_in_at_a_time(store: &Store, processes: u64, rounds: u64) {
    let lock = store.store.retrieve(0).unwrap();
    let before = lock.lock().unwrap().token();
    let ground = store.directory().join("ground");
    std::fs::write(&ground, [0; 8]).unwrap();
    let storm = ["storm", &store.url, ground.to_str().unwrap(), &rounds.to_string()].map(str::to_owned);
    let storm: Vec<_> = storm.iter().map(String::as_str).collect();
    let mut peers: Vec<_> = (0..processes).map(|_| Peer::start(&storm)).collect();
    for peer in &mut peers {
        let (success, said) = peer.ends();
        assert!(success, "{said}");
    }
    let turns = lock.lock().unwrap().token() - before - 1;
    assert_eq!(turns, processes * rounds, "each turn has its token");
}

pub(crate) fn storm(url: &str, ground: &Path, rounds: u64) {
    let store = peer::open(url, OpenMode::Open).unwrap();
    let lock = store.retrieve(0).unwrap();
    let file = File::options().read(true).write(true).open(ground).unwrap();
    for left in (0..rounds).rev() {
        let guard = lock.lock().unwrap();
        let mine = guard.token().to_ne_bytes();
        file.write_all_at(&mine, 0).unwrap();
        for _ in 0..3 {
            std::thread::yield_now();
            let mut there = [0; 8];
            file.read_exact_at(&mut there, 0).unwrap();
            assert_eq!(there, mine, "somebody else is in");
        }
        if guard.token() % 3 != 0 {
            continue;
        }
        if left == 0 {
            return;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(peer::MARK).args(["storm", url, ground.to_str().unwrap(), &left.to_string()]);
        panic!("{}", command.exec());
    }
}

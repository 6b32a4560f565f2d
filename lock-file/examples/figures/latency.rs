//! How long it takes from a release, or a death, until the next owner has the lock; and how late deadlines are.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Deadline, Lock, Result, Store};

use crate::owner::Owner;
use crate::{now, quantile};

const ROUNDS: usize = 300;
const FAR: Duration = Duration::from_secs(60);

pub(crate) fn print(store: &Store, scratch: &Path) -> Result<()> {
    let lock = store.retrieve(0)?;
    for (waiting, deadline) in [("without", None), ("with", Some(FAR))] {
        let by = || deadline.map_or(Deadline::Never, Deadline::after);
        for (who, role) in [("a handle releases", "ours"), ("a foreign program closes", "foreign")] {
            let mut owner = Owner::start(role, scratch);
            let times = (0..ROUNDS).map(|_| {
                handed_over(&lock, by(), &mut owner, |owner| {
                    owner.say("release");
                    Duration::from_nanos(owner.answer().parse().expect("a number"))
                })
            });
            report(&format!("{who}, waiter {waiting} a deadline"), times.collect());
        }
        for (who, role) in [("an owner is killed", "ours"), ("an owner is killed that had waited with a deadline", "waited")] {
            let times = (0..ROUNDS).map(|_| {
                let mut owner = Owner::start(role, scratch);
                if role == "waited" {
                    let guard = lock.lock().expect("it is free");
                    owner.say("lock");
                    thread::sleep(Duration::from_millis(5));
                    drop(guard);
                    owner.answer();
                    owner.say("release");
                    owner.answer();
                }
                handed_over(&lock, by(), &mut owner, Owner::kill)
            });
            report(&format!("{who}, waiter {waiting} a deadline"), times.collect());
        }
    }
    let mut owner = Owner::start("ours", scratch);
    owner.say("lock");
    owner.answer();
    let late = (0..ROUNDS).map(|n| {
        let (length, start) = (Duration::from_millis(n as u64 % 50), Instant::now());
        lock.try_lock_for(length).expect_err("it is held");
        start.elapsed().checked_sub(length).expect("a deadline is never early")
    });
    report("a deadline is late by", late.collect());
    Ok(())
}

/// How long after the moment that `let_go` returns the waiter has the lock.
fn handed_over(lock: &Lock, deadline: Deadline, owner: &mut Owner, let_go: impl FnOnce(&mut Owner) -> Duration) -> Duration {
    owner.say("lock");
    owner.answer();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let _guard = lock.lock_by(deadline).expect("it becomes free");
            now()
        });
        // Long enough for it to sleep; if it does not yet, the figure is only smaller.
        thread::sleep(Duration::from_millis(2));
        let moment = let_go(owner);
        waiter.join().expect("it does not panic").saturating_sub(moment)
    })
}

fn report(what: &str, mut times: Vec<Duration>) {
    let [half, most, all] = [0.5, 0.99, 1.0].map(|part| quantile(&mut times, part));
    println!("{what}: p50 {half:?}, p99 {most:?}, longest {all:?}");
}

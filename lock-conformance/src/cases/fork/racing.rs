//! Forks while other threads of the process acquire and release locks.

use crate::cases::{cases, with_capacity};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::LockRef;

cases! { "fork";
    a_parent_killed_after_racing_forks_leaves_no_lock_held [STORE PROCESSES RELEASED];
    a_child_forked_while_its_parent_locks_can_lock [STORE PROCESSES];
}

/// Number of locks that a thread acquires while another one forks.
const LOCKS: u32 = 64;
/// Number of parents that are killed.
const ROUNDS: u32 = 8;

/// Number of children that are forked while threads use locks, and the time limit for all.
///
/// A fault may make one child in a hundred hang.
const CHILDREN: u32 = 400;
const MOST_MILLISECONDS: u32 = 5000;

/// A fork may occur between the opening of a file and its registration as one that children close.
fn a_parent_killed_after_racing_forks_leaves_no_lock_held(fixture: &Fixture) {
    let url = with_capacity(fixture, "100");
    let other = fixture.peer_with(&url);
    let locks: Vec<_> = match fixture.a_lock(&other) {
        LockRef::Number(_) => (0..LOCKS).map(LockRef::Number).collect(),
        LockRef::Single => vec![LockRef::Single],
    };
    let names: Vec<_> = locks.iter().map(ToString::to_string).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for _ in 0..ROUNDS * scale() {
        let parent = fixture.peer_with(&url);
        let locking = parent.process.thread("t1").start("lock_beside_forks", &names);
        let forking = parent.start("fork_beside_locks", &[&std::process::id().to_string(), &names.len().to_string()]);
        let children = fixture.forked_idle(forking);
        locking.done();
        fixture.kill(&parent.process);
        for lock in &locks {
            let granted = other.lock(*lock);
            if need::REPORTED.is_met(&fixture.suite) {
                assert_eq!(granted.death.map(|death| death.pid), Some(parent.pid()), "the death of the parent is not reported");
            }
        }
        other.must("release_all", &[]);
        fixture.end_forked(&children);
    }
}

/// A mutex that another thread holds during the fork stays locked in the child.
fn a_child_forked_while_its_parent_locks_can_lock(fixture: &Fixture) {
    let (parent, other) = (fixture.peer(), fixture.peer());
    let (first, second) = (fixture.a_lock(&other), fixture.a_lock(&other));
    let (path, arena) = fixture.arena(1);
    let path = path.to_str().expect("the scratch path is text");
    let [first_name, second_name] = [first, second].map(|lock| lock.to_string());
    // With several threads, one of them is within an operation most of the time.
    let start = |name| parent.process.thread(name).start("make_handles_and_try", &[path, &first_name, &second_name]);
    let busy = ["t1", "t2", "t3"].map(start);
    busy.iter().for_each(|busy| _ = busy.begun());
    arena.go();
    let [children, milliseconds] = [CHILDREN, MOST_MILLISECONDS].map(|number| (number * scale()).to_string());
    let children: u64 = parent.must("fork_and_lock", &[&children, &milliseconds, &first_name, &second_name]).get("children");
    arena.stop();
    let rounds: u64 = busy.map(|busy| busy.done().get::<u64>("rounds")).iter().sum();
    assert!(children > 0 && rounds > 0, "{children} children were forked in {rounds} rounds");
    for lock in [first, second] {
        let granted = other.finds_free(lock, "children and parent released it");
        assert!(granted.death.is_none(), "a death is reported, although no process died");
    }
}

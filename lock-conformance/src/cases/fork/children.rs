//! A process that forks while it holds a lock. The child owns none of its parent's locks.

use crate::cases::{Contenders, cases, first_ids};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{Dead, LockRef, Thread};

cases! { "fork";
    a_child_owns_nothing [PROCESSES];
    dropping_an_inherited_guard_does_nothing [PROCESSES];
    the_exit_of_a_child_releases_nothing [PROCESSES];
    a_child_can_lock_by_itself [PROCESSES];
    a_child_waits_for_its_parent [PROCESSES];
    the_lock_of_a_dead_parent_is_free_although_its_child_lives [PROCESSES RELEASED];
    the_lock_of_a_dead_parent_is_free_to_its_child [PROCESSES RELEASED];
    the_lock_of_a_dead_child_is_free_and_its_death_is_told [PROCESSES RELEASED];
    a_child_is_named_as_itself [PROCESSES REPORTED];
    a_child_is_named_as_the_holder [PROCESSES HOLDERS];
    a_child_of_a_child_owns_nothing [PROCESSES RELEASED];
    a_child_of_another_thread_owns_nothing [PROCESSES RELEASED];
    a_child_allocates_for_itself [PROCESSES NUMBERED];
}

fn a_child_owns_nothing(fixture: &Fixture) {
    let (parent, other, lock) = Contenders::Processes.start_two(fixture);
    parent.lock(lock);
    let child = fixture.fork(&parent);
    child.refused("NotHeld", "unlock", &[&lock.to_string()]);
    other.finds_busy(lock, "only a child of its owner tried to release it");
    child.finds_busy(lock, "its parent holds it");
    parent.unlock(lock);
    other.finds_free(lock, "its owner released it");
}

fn dropping_an_inherited_guard_does_nothing(fixture: &Fixture) {
    let (parent, other, lock) = Contenders::Processes.start_two(fixture);
    parent.lock(lock);
    let child = fixture.fork(&parent);
    child.must("release", &[&lock.to_string()]);
    other.finds_busy(lock, "only a child of its owner dropped its copy of the guard");
    parent.unlock(lock);
    other.finds_free(lock, "its owner released it");
}

fn the_exit_of_a_child_releases_nothing(fixture: &Fixture) {
    let (parent, other, lock) = Contenders::Processes.start_two(fixture);
    parent.lock(lock);
    for fate in ["exit", "abort"] {
        let child = fixture.fork(&parent);
        let _never = child.start(fate, &[]);
        fixture.reap(&child.process);
        other.finds_busy(lock, "only a child of its owner ended");
    }
    parent.unlock(lock);
    assert!(
        other.finds_free(lock, "its owner released it").death.is_none(),
        "the dead children owned no lock, but a death was reported"
    );
}

fn a_child_can_lock_by_itself(fixture: &Fixture) {
    let (parent, other, lock) = Contenders::Processes.start_two(fixture);
    parent.lock(lock);
    let child = fixture.fork(&parent);
    parent.unlock(lock);
    child.must("release", &[&lock.to_string()]);
    child.lock(lock);
    parent.finds_busy(lock, "the child holds it");
    other.finds_busy(lock, "the child holds it");
    child.unlock(lock);
    parent.lock(lock);
    child.finds_busy(lock, "the parent holds it again");
}

fn a_child_waits_for_its_parent(fixture: &Fixture) {
    let parent = fixture.peer();
    let lock = fixture.a_lock(&parent);
    parent.lock(lock);
    let child = fixture.fork(&parent);
    child.must("release", &[&lock.to_string()]);
    let waiter = child.start_lock(lock);
    waiter.waits("the parent holds the lock");
    parent.unlock(lock);
    assert!(waiter.granted().death.is_none(), "no owner died, but a death was reported");
    parent.finds_busy(lock, "the child holds it");
}

fn the_lock_of_a_dead_parent_is_free_although_its_child_lives(fixture: &Fixture) {
    let (parent, other, lock) = Contenders::Processes.start_two(fixture);
    parent.lock(lock);
    let child = fixture.fork(&parent);
    fixture.kill(&parent.process);
    let grant = other.lock(lock);
    if need::REPORTED.is_met(&fixture.suite) {
        assert_eq!(grant.death.map(|death| death.pid), Some(parent.pid()), "the death of the parent was not reported");
    }
    child.finds_busy(lock, "another thread acquired it after its parent's death");
    child.must("release", &[&lock.to_string()]);
    child.finds_busy(lock, "its copy of the dead parent's guard gives it no right");
}

fn the_lock_of_a_dead_parent_is_free_to_its_child(fixture: &Fixture) {
    let parent = fixture.peer();
    let lock = fixture.a_lock(&parent);
    parent.lock(lock);
    let child = fixture.fork(&parent);
    child.must("release", &[&lock.to_string()]);
    fixture.kill(&parent.process);
    let grant = child.lock(lock);
    if need::REPORTED.is_met(&fixture.suite) {
        assert_eq!(grant.death.map(|death| death.pid), Some(parent.pid()), "the death of the parent was not reported");
    }
    fixture.peer().finds_busy(lock, "the child holds it");
}

fn the_lock_of_a_dead_child_is_free_and_its_death_is_told(fixture: &Fixture) {
    let parent = fixture.peer();
    let lock = fixture.a_lock(&parent);
    let child = fixture.fork(&parent);
    child.lock(lock);
    parent.finds_busy(lock, "the child holds it");
    fixture.kill(&child.process);
    let grant = parent.lock(lock);
    if need::REPORTED.is_met(&fixture.suite) {
        assert_eq!(grant.death.map(|death| death.pid), Some(child.pid()), "the death of the child was not reported");
    }
}

fn a_child_of_a_child_owns_nothing(fixture: &Fixture) {
    let (parent, other, lock) = Contenders::Processes.start_two(fixture);
    parent.lock(lock);
    let child = fixture.fork(&parent);
    let grandchild = fixture.fork(&child);
    grandchild.refused("NotHeld", "unlock", &[&lock.to_string()]);
    other.finds_busy(lock, "only a child of a child of its owner tried to release it");
    fixture.kill(&child.process);
    other.finds_busy(lock, "only a child of its owner died");
    fixture.kill(&parent.process);
    other.lock(lock);
    other.unlock(lock);
    grandchild.lock(lock);
    other.finds_busy(lock, "the grandchild holds it");
}

fn a_child_of_another_thread_owns_nothing(fixture: &Fixture) {
    let (parent, other, lock) = Contenders::Processes.start_two(fixture);
    parent.lock(lock);
    let child = fixture.fork(&parent.process.thread("t1"));
    child.finds_busy(lock, "a thread of its parent holds it");
    fixture.kill(&parent.process);
    other.lock(lock);
    child.finds_busy(lock, "another thread acquired it after its parent's death");
}

fn a_child_allocates_for_itself(fixture: &Fixture) {
    let parent = fixture.peer();
    let first = parent.allocate("");
    let child = fixture.fork(&parent);
    let (of_child, of_parent) = (child.allocate(""), parent.allocate(""));
    assert!(first != of_child && of_child != of_parent, "parent and child allocated the same id");
    fixture.kill(&child.process);
    assert!(parent.allocated().contains(&of_child), "an id was lost with the process that allocated it");
}

/// Checks the same promises for one way of forking, which the verb names.
pub(super) fn owns_nothing_and_locks_for_itself(fixture: &Fixture, verb: &str) {
    let (parent, other, lock) = Contenders::Processes.start_two(fixture);
    parent.lock(lock);
    let child = fixture.fork_by(verb, &parent);
    child.finds_busy(lock, "its parent holds it");
    child.must("release", &[&lock.to_string()]);
    other.finds_busy(lock, "only a child of its owner dropped its copy of the guard");
    parent.unlock(lock);
    other.finds_free(lock, "its owner released it");
    child.lock(lock);
    parent.finds_busy(lock, "the child holds it");
    other.finds_busy(lock, "the child holds it");
    if need::HOLDERS.is_met(&fixture.suite) {
        let holder: Option<u32> = other.must("holder", &[&lock.to_string()]).find("pid");
        assert_eq!(holder, Some(child.pid()), "the child holds the lock, but it is not named as the holder");
    }
    child.unlock(lock);
    parent.lock(lock);
    child.finds_busy(lock, "its parent holds it again");
    let second = fixture.fork_by(verb, &parent);
    second.finds_busy(lock, "its parent holds it");
    second.refused("NotHeld", "unlock", &[&lock.to_string()]);
    other.finds_busy(lock, "only a child of its owner tried to release it");
    if !need::RELEASED.is_met(&fixture.suite) {
        return;
    }
    fixture.kill(&parent.process);
    names(fixture, other.lock(lock).death, parent.pid());
    other.unlock(lock);
    child.lock(lock);
    fixture.kill(&child.process);
    names(fixture, second.lock(lock).death, child.pid());
}

/// Asserts that the death of this process is reported, if the backend claims so.
fn names(fixture: &Fixture, told: Option<Dead>, dead: u32) {
    if need::REPORTED.is_met(&fixture.suite) {
        assert_eq!(told.map(|death| death.pid), Some(dead), "the death of the process is not reported");
    }
}

/// Returns the ways to fork that this machine supports.
fn ways(fixture: &Fixture) -> Vec<&'static str> {
    let mut ways = vec!["fork"];
    if need::FORK_WITHOUT_HANDLERS.is_met(&fixture.suite) {
        ways.push("fork_without_handlers");
    }
    if need::FORK_BY_SYSTEM_CALL.is_met(&fixture.suite) {
        ways.push("fork_by_system_call");
    }
    ways
}

/// Two processes and a thread of the first one, which have used locks, and locks for their children.
fn parents_other_and_locks(fixture: &Fixture) -> ([Thread; 2], Thread, Vec<LockRef>) {
    let (process, other) = (fixture.peer(), fixture.peer());
    let parents = [process.clone(), process.process.thread("t1")];
    let ids = first_ids(fixture, &process, 60);
    let locks = if ids.is_empty() { vec![LockRef::Single] } else { ids.map(LockRef::Number).collect() };
    for parent in &parents {
        locks.iter().take(2).for_each(|lock| _ = parent.finds_free(*lock, "no process holds it"));
    }
    (parents, other, locks)
}

/// A fork changes the ids that a backend may cache for the process and its threads.
fn a_child_is_named_as_itself(fixture: &Fixture) {
    let (parents, other, locks) = parents_other_and_locks(fixture);
    for parent in parents {
        for way in ways(fixture) {
            let child = fixture.fork_by(way, &parent);
            let tid = child.tid();
            locks.iter().for_each(|lock| _ = child.lock(*lock));
            fixture.kill(&child.process);
            for lock in &locks {
                let told = other.lock(*lock).death;
                let told = told.unwrap_or_else(|| panic!("a child died after {way}, but no death is reported"));
                assert_eq!(told.pid, child.pid(), "a child died after {way}, but the death of another process is reported");
                assert!(
                    [0, tid].contains(&told.tid),
                    "thread {tid} of a child died after {way}, but thread {} is reported",
                    told.tid
                );
                other.mark_consistent(*lock);
                other.unlock(*lock);
            }
        }
    }
}

fn a_child_is_named_as_the_holder(fixture: &Fixture) {
    let (parents, other, locks) = parents_other_and_locks(fixture);
    for parent in parents {
        for way in ways(fixture) {
            let child = fixture.fork_by(way, &parent);
            let child_tid = child.tid();
            for lock in &locks {
                child.lock(*lock);
                let named = other.must("holder", &[&lock.to_string()]);
                let (pid, tid): (Option<u32>, Option<u32>) = (named.find("pid"), named.find("tid"));
                assert_eq!(pid, Some(child.pid()), "a child holds the lock after {way}, but another process is named");
                assert!(
                    [None, Some(0), Some(child_tid)].contains(&tid),
                    "a child holds the lock after {way}, but thread {tid:?} is named"
                );
                child.unlock(*lock);
            }
        }
    }
}

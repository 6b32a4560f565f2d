//! Processes in several IPC namespaces, which do not share System V semaphores.
//!
//! A process of another namespace has to be excluded or refused.

use super::cases;
use super::keeping::{attempt, each_keeps_its_lock, is_excluded_or_refused, keeps_its_lock};
use crate::fixture::Fixture;
use crate::process::{LockRef, Thread};
use crate::protocol::Refusal;

cases! { "namespaces";
    a_process_in_another_ipc_namespace_is_excluded_or_refused [STORE PROCESSES IPC_NAMESPACES];
    a_process_in_another_ipc_namespace_without_a_boot_id_is_excluded_or_refused [STORE PROCESSES IPC_NAMESPACES PROC_MOUNTS];
    a_child_that_has_not_locked_yet_excludes_another_ipc_namespace [STORE PROCESSES IPC_NAMESPACES];
    another_ipc_namespace_excludes_a_child_that_has_not_locked_yet [STORE PROCESSES IPC_NAMESPACES];
    a_handle_that_is_taken_to_another_ipc_namespace_excludes_or_is_refused [STORE PROCESSES IPC_NAMESPACES];
    an_owner_that_leaves_its_ipc_namespace_keeps_its_lock [STORE PROCESSES IPC_NAMESPACES];
    semaphore_sets_of_other_programs_stay_as_they_are [STORE PROCESSES CHOSEN_SETS];
}

/// A process in another IPC namespace, without a store.
fn stranger(fixture: &Fixture) -> Thread {
    let stranger = fixture.blank_peer();
    stranger.must("own_ipc", &[]);
    stranger
}

/// Asserts that the error says that this process must not use the store.
fn is_untrusted(refusal: &Refusal) {
    assert_eq!(refusal.kind, "Untrusted", "a process of another IPC namespace was refused with an unexpected error: {refusal}");
}

/// Kinds of errors that say that this process must not use the store.
const REFUSALS: &[&str] = &["Untrusted"];

fn a_process_in_another_ipc_namespace_is_excluded_or_refused(fixture: &Fixture) {
    opens_and_is_excluded_or_refused(fixture, &stranger(fixture));
}

/// Without `/proc/sys`, a process cannot read the boot id of the machine.
fn a_process_in_another_ipc_namespace_without_a_boot_id_is_excluded_or_refused(fixture: &Fixture) {
    let stranger = stranger(fixture);
    stranger.must("own_mounts", &[]);
    stranger.must("mount", &["proc", "/proc", "subset=pid"]);
    opens_and_is_excluded_or_refused(fixture, &stranger);
}

/// Opens the store in a process of another namespace while a lock of the store is held.
fn opens_and_is_excluded_or_refused(fixture: &Fixture, stranger: &Thread) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&owner);
    owner.lock(lock);
    match stranger.ask("open", &["open", &fixture.url()]) {
        Ok(_) => each_keeps_its_lock(fixture, &owner, stranger, lock),
        Err(refusal) => {
            is_untrusted(&refusal);
            each_keeps_its_lock(fixture, &owner, &other, lock);
        }
    }
}

fn a_child_that_has_not_locked_yet_excludes_another_ipc_namespace(fixture: &Fixture) {
    for has_parent_locked in [true, false] {
        let (child, stranger, lock) = child_and_stranger(fixture, has_parent_locked);
        one_is_excluded_or_refused([Some(child), stranger], lock);
    }
}

fn another_ipc_namespace_excludes_a_child_that_has_not_locked_yet(fixture: &Fixture) {
    for has_parent_locked in [true, false] {
        let (child, stranger, lock) = child_and_stranger(fixture, has_parent_locked);
        one_is_excluded_or_refused([stranger, Some(child)], lock);
    }
}

/// A process whose dead parent opened the store, as in a daemon, and a stranger.
///
/// The stranger is in another IPC namespace and has opened the store, unless it was refused.
fn child_and_stranger(fixture: &Fixture, has_parent_locked: bool) -> (Thread, Option<Thread>, LockRef) {
    let url = fixture.fresh_url();
    let parent = fixture.peer_with(&url);
    let lock = fixture.a_lock(&parent);
    if has_parent_locked {
        parent.finds_free(lock, "no process holds it");
    }
    let child = fixture.fork(&parent);
    fixture.kill(&parent.process);
    let stranger = stranger(fixture);
    let opened = stranger.ask("open", &["open", &url]).map_err(|refusal| is_untrusted(&refusal));
    (child, opened.is_ok().then_some(stranger), lock)
}

/// Asserts that one of the threads acquires a free lock, and the others are excluded or refused.
fn one_is_excluded_or_refused(threads: [Option<Thread>; 2], lock: LockRef) {
    let mut threads = threads.into_iter().flatten();
    let owner = threads.find(|thread| attempt(thread, lock, REFUSALS).is_some_and(|granted| granted.is_some()));
    let owner = owner.expect("a free lock was granted to no process");
    threads.for_each(|thread| is_excluded_or_refused(&thread, lock, REFUSALS));
    owner.unlock(lock);
}

fn a_handle_that_is_taken_to_another_ipc_namespace_excludes_or_is_refused(fixture: &Fixture) {
    let (leaver, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&leaver);
    for thread in [&leaver, &other] {
        thread.finds_free(lock, "no process holds it");
    }
    leaver.must("own_ipc", &[]);
    other.lock(lock);
    is_excluded_or_refused(&leaver, lock, REFUSALS);
    other.unlock(lock);
    if let Some(granted) = attempt(&leaver, lock, REFUSALS) {
        assert!(granted.is_some(), "{leaver} found the lock {lock} busy, although it was released");
        keeps_its_lock(fixture, &leaver, &other, lock);
    }
    other.finds_free(lock, "no process holds it");
}

/// The kernel undoes the semaphore operations of a process that leaves its IPC namespace.
fn an_owner_that_leaves_its_ipc_namespace_keeps_its_lock(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&owner);
    other.finds_free(lock, "no process holds it");
    owner.lock(lock);
    owner.must("own_ipc", &[]);
    other.finds_busy(lock, "its owner lives and has only left its IPC namespace");
    is_excluded_or_refused(&other, lock, REFUSALS);
    if let Err(refusal) = owner.ask("unlock", &[&lock.to_string()]) {
        is_untrusted(&refusal);
        fixture.kill(&owner.process);
    }
    other.lock(lock);
    other.unlock(lock);
}

/// Returns the semaphore sets of an IPC namespace, each with its size.
fn sets(thread: &Thread) -> Vec<(u32, u32)> {
    let fields = thread.must("semaphore_sets", &[]);
    fields.numbers("ids").into_iter().zip(fields.numbers("sizes")).collect()
}

/// In another IPC namespace, the id of a semaphore set of the store may name a set of another program.
fn semaphore_sets_of_other_programs_stay_as_they_are(fixture: &Fixture) {
    let before = sets(&fixture.blank_peer());
    let (leaver, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&leaver);
    for thread in [&leaver, &other] {
        thread.finds_free(lock, "no process holds it");
    }
    // Sets of other cases may be among them, which is harmless.
    let ids: Vec<_> = sets(&other).into_iter().filter(|set| !before.contains(set)).collect();
    leaver.must("own_ipc", &[]);
    for (id, size) in &ids {
        let made: u32 = leaver.must("make_semaphore_set", &[&id.to_string(), &size.to_string()]).get("id");
        assert_eq!(made, *id, "the kernel chose another id");
    }
    let witness = fixture.fork(&leaver);
    let are_as_before = |when: &str| {
        for (id, _) in &ids {
            let set = witness.must("semaphore_set", &[&id.to_string()]);
            let (changed, operated): (u32, u64) = (set.get("changed"), set.get("operated"));
            assert_eq!((changed, operated), (0, 0), "the set {id} of another program was changed {when}");
        }
    };
    if attempt(&leaver, lock, REFUSALS).flatten().is_some() {
        are_as_before("by locking");
        leaver.unlock(lock);
    }
    are_as_before("by unlocking");
    other.lock(lock);
    let _ = leaver.ask("lock_for", &[&lock.to_string(), "1000000"]);
    are_as_before("by waiting");
    other.unlock(lock);
    for verb in ["holder", "waiters"] {
        let _ = leaver.ask(verb, &[&lock.to_string()]);
    }
    are_as_before("by a query for the holder");
    let _ = attempt(&leaver, lock, REFUSALS);
    fixture.kill(&leaver.process);
    for (id, _) in &ids {
        // Only the change time is checked: the kernel may update `sem_otime` when a process with undo operations ends.
        let changed: u32 = witness.must("semaphore_set", &[&id.to_string()]).get("changed");
        assert_eq!(changed, 0, "the set {id} of another program was changed by the death of a process");
    }
}

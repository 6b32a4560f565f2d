//! Allocating ids.

use std::collections::BTreeSet;

use super::{allocated_after_kill, cases, nothing_was_shared_in, several_racing_for, with_capacity};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{LockRef, Pending, Thread};

cases! { "allocation";
    two_allocations_differ [NUMBERED];
    an_id_names_the_same_lock_to_everybody [NUMBERED PROCESSES];
    an_id_that_is_not_allocated_can_be_locked [NUMBERED];
    a_store_hands_out_each_id_once_and_then_is_full [CHOSEN NUMBERED];
    exhaustion_says_the_capacity_and_the_count [CHOSEN NUMBERED PROCESSES];
    an_id_that_is_freed_comes_back [CHOSEN NUMBERED PROCESSES];
    a_store_that_is_freed_hands_out_the_same_ids_again [CHOSEN NUMBERED];
    a_given_id_is_marked_in_use [NUMBERED PROCESSES];
    one_of_those_who_race_for_an_id_wins [NUMBERED PROCESSES];
    racing_processes_never_share_an_id [NUMBERED PROCESSES];
    racing_threads_never_share_an_id [NUMBERED];
    an_id_outlives_the_process_that_allocated_it [NUMBERED PROCESSES];
    killed_allocators_lose_no_id [CHOSEN NUMBERED PROCESSES];
    available_counts_what_is_free [NUMBERED PROCESSES];
    an_id_out_of_range_is_refused_and_the_range_is_said [CHOSEN NUMBERED];
    a_store_without_bound_hands_out_ids [CHOSEN NUMBERED];
    a_numbered_store_has_no_single_lock [NUMBERED];
    a_single_lock_has_the_id_0_which_is_always_allocated [STORE] unless NUMBERED;
}

fn two_allocations_differ(fixture: &Fixture) {
    let a = fixture.peer();
    assert_ne!(a.allocate(""), a.allocate(""), "one id was allocated twice");
}

fn an_id_names_the_same_lock_to_everybody(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let ids: Vec<_> = (0..4).map(|_| a.allocate("")).collect();
    for id in &ids {
        // The handle that the allocation returned excludes a handle that was opened by id.
        a.lock(LockRef::Number(*id));
        b.must("retrieve", &[&id.to_string()]);
        b.finds_busy(LockRef::Number(*id), "the thread that allocated it holds it");
        for other in ids.iter().filter(|other| *other != id) {
            b.finds_free(LockRef::Number(*other), "only the lock of another id is held");
        }
        a.unlock(LockRef::Number(*id));
    }
}

fn an_id_that_is_not_allocated_can_be_locked(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let lock = LockRef::Number(3);
    a.lock(lock);
    assert_eq!(a.allocated(), [], "opening handles allocated ids");
    if need::PROCESSES.is_met(&fixture.suite) {
        b.finds_busy(lock, "it is held, although its id is not allocated");
    }
}

/// Allocates all ids of the store, asserts that they differ, and returns them.
fn fill(thread: &Thread, at_most: u32) -> (BTreeSet<u32>, Option<String>) {
    let filled = thread.must("allocate_many", &[&at_most.to_string()]);
    let ids = filled.numbers("ids");
    let set: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(set.len(), ids.len(), "an id was allocated twice: {ids:?}");
    (set, filled.find("refusal"))
}

fn a_store_hands_out_each_id_once_and_then_is_full(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "128"));
    let (ids, refusal) = fill(&a, 1000);
    assert_eq!(ids, (0..128).collect(), "a store of 128 locks allocates the ids 0 to 127; it refused with {refusal:?}");
    a.refused("Exhausted", "allocate", &[""]);
    assert_eq!(a.allocated(), (0..128).collect::<Vec<_>>(), "the list of allocated ids is wrong");
}

fn exhaustion_says_the_capacity_and_the_count(fixture: &Fixture) {
    let url = with_capacity(fixture, "48");
    let (a, b) = (fixture.peer_with(&url), fixture.peer_with(&url));
    let (first, _) = fill(&a, 20);
    let (second, _) = fill(&b, 1000);
    assert!(first.is_disjoint(&second), "two processes allocated the same id");
    assert_eq!(first.len() + second.len(), 48, "a store is full when all ids are allocated");
    for thread in [&a, &b] {
        let refusal = thread.refused("Exhausted", "allocate", &[""]);
        let said: (u64, u64) = (refusal.fields.get("capacity"), refusal.fields.get("allocated"));
        assert_eq!(said, (48, 48), "the error has the wrong capacity or count: {}", refusal.text);
    }
}

/// A test of Podman: after one id of a full store is freed, the next allocation returns that id.
fn an_id_that_is_freed_comes_back(fixture: &Fixture) {
    let url = with_capacity(fixture, "64");
    let (a, b) = (fixture.peer_with(&url), fixture.peer_with(&url));
    let (ids, _) = fill(&a, 64);
    for id in ids {
        a.free(id);
        assert_eq!(b.allocate(""), id, "another id than the only free one was allocated");
        b.refused("Exhausted", "allocate", &[""]);
    }
}

fn a_store_that_is_freed_hands_out_the_same_ids_again(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "64"));
    let (before, _) = fill(&a, 64);
    let freed: u64 = a.must("free_all", &[]).get("freed");
    assert_eq!(freed, 64, "free_all does not return the number of allocated ids");
    assert_eq!(a.allocated(), [], "ids are allocated after free_all");
    let (after, _) = fill(&a, 1000);
    assert_eq!(before, after, "other ids are allocated after free_all than before");
    for id in after {
        a.free(id);
    }
    assert_eq!(a.available(), Some(64), "ids that were freed one by one are not free");
}

fn a_given_id_is_marked_in_use(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    a.must("take", &["5", ""]);
    assert_eq!(b.allocated(), [5], "another id than the given one was allocated");
    for thread in [&a, &b] {
        thread.refused("AlreadyAllocated", "take", &["5", ""]);
    }
    let (ids, _) = fill(&b, 8);
    assert!(!ids.contains(&5), "the given id was allocated again");
    b.free(5);
    b.must("take", &["5", ""]);
    a.must("free_all", &[]);
    a.must("take", &["5", ""]);
    a.lock(LockRef::Number(5));
    b.finds_busy(LockRef::Number(5), "the thread that allocated it holds it");
}

fn one_of_those_who_race_for_an_id_wins(fixture: &Fixture) {
    let threads: Vec<_> = (0..4).map(|_| fixture.peer()).collect();
    for id in 0..16 {
        let (path, arena) = fixture.arena(1);
        let path = path.to_str().expect("the scratch path is text");
        let racing: Vec<_> = threads.iter().map(|thread| thread.start("race_for", &[path, &id.to_string()])).collect();
        for racer in &racing {
            racer.begun();
        }
        arena.go();
        let outcomes: Vec<_> = racing.into_iter().map(Pending::outcome).collect();
        let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(winners, 1, "{winners} of {} won the race for the id {id}", outcomes.len());
        for refusal in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(refusal.kind, "AlreadyAllocated", "a failed racer received another error: {refusal}");
        }
    }
}

fn racing_processes_never_share_an_id(fixture: &Fixture) {
    let url = with_capacity(fixture, "64");
    let threads: Vec<_> = (0..4).map(|_| fixture.peer_with(&url)).collect();
    let arena = several_racing_for(fixture, &threads, 400 * scale());
    nothing_was_shared_in(arena, threads[0].allocated());
}

fn racing_threads_never_share_an_id(fixture: &Fixture) {
    let process = fixture.peer_with(&with_capacity(fixture, "64"));
    let many: Vec<_> = (0..3)
        .map(|n| {
            let thread = process.process.thread(&format!("t{n}"));
            thread.start("allocate_many", &["20"])
        })
        .collect();
    let mut all = BTreeSet::new();
    for pending in many {
        for id in pending.done().numbers("ids") {
            assert!(all.insert(id), "two threads allocated the id {id}");
        }
    }
    assert_eq!(
        process.allocated(),
        all.into_iter().collect::<Vec<_>>(),
        "the ids that the threads allocated differ from the list of allocated ids"
    );
}

fn an_id_outlives_the_process_that_allocated_it(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("");
    fixture.kill(&a.process);
    assert_eq!(b.allocated(), [id], "an id was lost with the process that allocated it");
    assert_ne!(b.allocate(""), id, "the id of a dead process was allocated again, although no process freed it");
}

/// A process that is killed while it allocates leaves each id either free, or allocated with its label.
fn killed_allocators_lose_no_id(fixture: &Fixture) {
    let url = with_capacity(fixture, "16");
    let watcher = fixture.peer_with(&url);
    let mut wait: u32 = 12345;
    for _ in 0..20 * scale() {
        let victim = fixture.peer_with(&url);
        let (path, arena) = fixture.arena(16);
        let churning = victim.start("churn", &[path.to_str().expect("the scratch path is text"), "0"]);
        churning.begun();
        arena.go();
        // A different delay in each round. The result does not depend on it.
        wait = wait.wrapping_mul(1_103_515_245).wrapping_add(12345);
        (0..wait >> 16).for_each(|_| std::hint::spin_loop());
        fixture.kill(&victim.process);
        let left = allocated_after_kill(fixture, &watcher);
        let ids = left.numbers("ids");
        assert!(ids.len() <= 1, "the process had at most one id at a time, but left {ids:?}");
        if need::LABELS.is_met(&fixture.suite) {
            for id in &ids {
                let label: String = left.get(&format!("label.{id}"));
                assert_eq!(label, "churn", "an allocated id does not have the label that its allocator gave it");
            }
        }
        assert_eq!(watcher.available(), Some(16 - ids.len() as u64), "an id is neither allocated nor free");
        ids.iter().for_each(|id| watcher.free(*id));
        let (all, _) = fill(&watcher, 1000);
        assert_eq!(all.len(), 16, "an id was lost with a killed allocator");
        watcher.must("free_all", &[]);
    }
}

fn available_counts_what_is_free(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let Some(all) = a.available() else {
        assert_eq!(b.available(), None, "one process sees a capacity, but the other does not");
        return;
    };
    let ids: Vec<_> = (0..5).map(|_| a.allocate("")).collect();
    assert_eq!((a.available(), b.available()), (Some(all - 5), Some(all - 5)), "five ids are allocated");
    b.free(ids[2]);
    assert_eq!((a.available(), b.available()), (Some(all - 4), Some(all - 4)), "one of five ids was freed");
    a.lock(LockRef::Number(ids[0]));
    assert_eq!(b.available(), Some(all - 4), "acquiring a lock changed the number of free ids");
}

fn an_id_out_of_range_is_refused_and_the_range_is_said(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "40"));
    for id in ["40", "41", "64", "4294967295"] {
        for (verb, arguments) in [("retrieve", vec![id]), ("take", vec![id, ""]), ("free", vec![id])] {
            let refusal = a.refused("OutOfRange", verb, &arguments);
            let said: u64 = refusal.fields.get("capacity");
            assert_eq!(said, 40, "the error of {verb} has the wrong range: {}", refusal.text);
        }
    }
    a.must("retrieve", &["39"]);
    a.must("take", &["39", ""]);
    assert_eq!(a.allocated(), [39], "a refused operation allocated an id");
}

fn a_store_without_bound_hands_out_ids(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "unbounded"));
    assert_eq!(a.available(), None, "there is a number of free ids, although there is no capacity");
    let (ids, refusal) = fill(&a, 500);
    assert_eq!((ids.len(), refusal), (500, None), "a store without a capacity is full");
    let last = LockRef::Number(ids.into_iter().next_back().expect("ids were allocated"));
    a.lock(last);
    a.process.thread("t1").finds_busy(last, "another thread holds it");
}

fn a_numbered_store_has_no_single_lock(fixture: &Fixture) {
    fixture.peer().refused("Unsupported", "single", &[]);
}

fn a_single_lock_has_the_id_0_which_is_always_allocated(fixture: &Fixture) {
    let a = fixture.peer();
    a.lock(LockRef::Single);
    a.process.thread("t1").finds_busy(LockRef::Number(0), "the only lock has the id 0");
    a.unlock(LockRef::Single);
    a.refused("Exhausted", "allocate", &[""]);
    a.refused("AlreadyAllocated", "take", &["0", ""]);
    a.refused("OutOfRange", "retrieve", &["1"]);
    a.refused("Unsupported", "free_handle", &["-"]);
    assert_eq!(a.available(), Some(0), "the only id is allocated");
}

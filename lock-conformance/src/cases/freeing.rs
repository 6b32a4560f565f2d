//! Freed ids: their locks, their waiters and their old handles.

use super::{cases, with_capacity};
use crate::fixture::Fixture;
use crate::process::LockRef;

cases! { "freeing";
    freeing_what_is_not_allocated_is_refused_and_changes_nothing [NUMBERED];
    a_double_free_is_refused_and_changes_nothing [NUMBERED PROCESSES];
    a_lock_that_is_freed_while_held_stays_held [NUMBERED PROCESSES];
    a_lock_that_is_freed_and_allocated_again_stays_held [NUMBERED PROCESSES];
    free_all_leaves_held_locks_held [NUMBERED PROCESSES];
    an_old_handle_locks_the_same_lock [NUMBERED PROCESSES];
    a_handle_frees_its_id [NUMBERED PROCESSES];
    a_handle_knows_that_its_id_was_handed_to_somebody_else [NUMBERED GENERATIONS PROCESSES];
    a_stale_handle_does_not_free_the_id_of_somebody_else [NUMBERED GENERATIONS PROCESSES];
    a_handle_is_never_called_stale [NUMBERED PROCESSES] unless GENERATIONS;
}

fn freeing_what_is_not_allocated_is_refused_and_changes_nothing(fixture: &Fixture) {
    let a = fixture.peer();
    let id = a.allocate("");
    let before = (a.available(), a.allocated());
    a.refused("NotAllocated", "free", &[&(id + 1).to_string()]);
    assert_eq!((a.available(), a.allocated()), before, "a refused free changed the allocated ids");
}

fn a_double_free_is_refused_and_changes_nothing(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let (id, other) = (a.allocate(""), a.allocate(""));
    a.free(id);
    for thread in [&a, &b] {
        let before = thread.available();
        thread.refused("NotAllocated", "free", &[&id.to_string()]);
        assert_eq!(thread.available(), before, "a double free changed the number of free ids");
        assert_eq!(thread.allocated(), [other], "a double free changed the allocated ids");
    }
}

fn a_lock_that_is_freed_while_held_stays_held(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("");
    let lock = LockRef::Number(id);
    a.lock(lock);
    b.free(id);
    b.finds_busy(lock, "its id was freed, but its owner still holds it");
    fixture.peer().finds_busy(lock, "its id was freed, but its owner still holds it");
    a.unlock(lock);
    assert!(b.finds_free(lock, "it was released").death.is_none(), "no owner died, but a death was reported");
}

/// In this situation, Podman's file locks admit two owners.
fn a_lock_that_is_freed_and_allocated_again_stays_held(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("");
    let lock = LockRef::Number(id);
    a.lock(lock);
    a.free(id);
    b.must("take", &[&id.to_string(), ""]);
    b.finds_busy(lock, "its id was allocated again, but its owner still holds it");
    let waiter = b.start_lock(lock);
    waiter.waits("the first owner still holds the lock");
    a.unlock(lock);
    waiter.granted();
    a.finds_busy(lock, "the new owner excludes old handles");
}

fn free_all_leaves_held_locks_held(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let locks = [(); 3].map(|()| LockRef::Number(a.allocate("")));
    for lock in locks {
        a.lock(lock);
    }
    let freed: u64 = b.must("free_all", &[]).get("freed");
    assert_eq!(freed, 3, "free_all does not return the number of allocated ids");
    for lock in locks {
        b.finds_busy(lock, "all ids were freed, but its owner still holds it");
        a.unlock(lock);
        b.finds_free(lock, "it was released");
    }
}

fn an_old_handle_locks_the_same_lock(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("");
    let lock = LockRef::Number(id);
    b.must("retrieve", &[&id.to_string()]);
    a.free(id);
    b.lock(lock);
    a.finds_busy(lock, "an old handle holds it");
    fixture.peer().finds_busy(lock, "an old handle holds it");
    b.unlock(lock);
    a.finds_free(lock, "it was released");
}

fn a_handle_frees_its_id(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("");
    a.must("free_handle", &[&id.to_string()]);
    assert_eq!(b.allocated(), [], "a handle did not free its id");
    a.refused("NotAllocated", "free_handle", &[&id.to_string()]);
}

fn a_handle_knows_that_its_id_was_handed_to_somebody_else(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("").to_string();
    let is_stale = |what: &str, expected: bool| {
        let stale: bool = a.must("stale", &[&id]).get("stale");
        assert_eq!(stale, expected, "{what}");
    };
    is_stale("the id has not been freed since the handle was opened", false);
    b.must("free", &[&id]);
    is_stale("the id was freed, but not allocated again", false);
    b.must("take", &[&id, ""]);
    is_stale("the id was allocated again", true);
    a.must("retrieve", &[&id]);
    is_stale("the handle was opened after the allocation", false);
}

fn a_stale_handle_does_not_free_the_id_of_somebody_else(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("").to_string();
    b.must("free", &[&id]);
    b.must("take", &[&id, ""]);
    a.refused("Stale", "free_handle", &[&id]);
    assert_eq!(b.allocated().len(), 1, "a stale handle freed the new allocation");
    b.must("free_handle", &[&id]);
}

fn a_handle_is_never_called_stale(fixture: &Fixture) {
    let url = with_capacity(fixture, "8");
    let (a, b) = (fixture.peer_with(&url), fixture.peer_with(&url));
    let id = a.allocate("").to_string();
    b.must("free", &[&id]);
    b.must("take", &[&id, ""]);
    let stale: bool = a.must("stale", &[&id]).get("stale");
    assert!(!stale, "a handle is reported as stale, although the backend does not count allocations");
}

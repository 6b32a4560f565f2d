//! Services that open a store as root and change to another user before they acquire locks or fork.

use crate::cases::cases;
use crate::fixture::Fixture;
use crate::need;

cases! { "fork";
    a_child_without_its_parents_rights_locks_or_gets_the_reason [STORE PROCESSES ROOT];
    a_lock_acquired_with_rights_is_released_without [STORE PROCESSES ROOT];
}

fn a_child_without_its_parents_rights_locks_or_gets_the_reason(fixture: &Fixture) {
    let (parent, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    parent.finds_free(lock, "no process holds it");
    parent.must("become_nobody", &[]);
    let child = fixture.fork(&parent);
    for process in [&child, &parent] {
        for _ in 0..3 {
            match process.ask("lock", &[&lock.to_string()]) {
                Ok(_) => {
                    other.finds_busy(lock, "a process that gave up its rights holds it");
                    process.unlock(lock);
                }
                Err(refusal) => {
                    let misled = ["Absent", "Destroyed", "Replaced", "AlreadyHeld", "NotHeld"].contains(&refusal.kind.as_str());
                    assert!(!misled, "{process} gave up its rights, but the error names another cause: {refusal}");
                }
            }
            let granted = other.finds_free(lock, "a process that gave up its rights released it, or was refused it");
            assert!(granted.death.is_none(), "a death is reported, although no process died");
        }
    }
}

fn a_lock_acquired_with_rights_is_released_without(fixture: &Fixture) {
    let (owner, other) = (fixture.peer(), fixture.peer());
    let lock = fixture.a_lock(&other);
    owner.lock(lock);
    owner.must("become_nobody", &[]);
    other.finds_busy(lock, "its owner gave up its rights, but not the lock");
    let waiter = fixture.peer().start_lock(lock);
    waiter.waits("its owner gave up its rights, but not the lock");
    let refused = owner.ask("unlock", &[&lock.to_string()]).err();
    // If locks of dead owners stay locked, an error in the owner suffices.
    if refused.is_some() && !need::RELEASED.is_met(&fixture.suite) {
        return;
    }
    assert!(waiter.granted().death.is_none(), "a death is reported, although no process died");
    other.finds_busy(lock, "the waiter owns it");
}

//! Checks at the end of a run.

use real_core::OwnerKind;

use crate::act::{acquire_raw, failed, is_label_of, label};
use crate::bounds::{FIRST, LOCKS, OBSERVER, THREADS};
use crate::deadline::Deadline;
use crate::death::{Acquired, Condition, Proof};
use crate::lock::ShmLock;
use crate::note::Leaving;
use crate::oracle::Id;
use crate::raw_lock::RawLock;
use crate::scenario::Act;
use crate::setup::Setup;
use crate::state;

/// Runs the observer's checks in a state without further steps.
pub(crate) fn finish(setup: &'static Setup) {
    let acts: Vec<Act> = setup.scenario().acts().collect();
    for lock in (0..LOCKS).filter(|lock| acts.iter().any(|act| uses(*act, *lock))) {
        check_lock(setup, lock);
    }
    if acts.iter().any(|act| matches!(act, Act::Allocate | Act::Keep | Act::Exactly(_))) {
        check_ids(setup);
    }
}

/// Returns whether an act acquires this lock.
fn uses(act: Act, lock: usize) -> bool {
    match act {
        Act::Lock(one) | Act::Send(one) | Act::Leave(one) | Act::Panic(one) | Act::End(one) | Act::Late(one) => one == lock,
        Act::TryLock | Act::TimedLock => lock == 0,
        Act::Both | Act::EndBoth => true,
        _ => false,
    }
}

/// Checks that the lock can be acquired, and that a death is reported until an owner marks the lock consistent.
fn check_lock(setup: &'static Setup, lock: usize) {
    let Some(reported) = enter(setup, lock) else { return };
    if reported {
        leave(setup, lock, Condition::Inconsistent);
        enter(setup, lock);
        match ShmLock::new(setup.slot(lock)).mark_consistent(OwnerKind::Thread, None) {
            Ok(()) => state::with(|state| state.oracle.mark(lock)),
            Err(error) => failed(&error),
        }
    }
    leave(setup, lock, Condition::Consistent);
    enter(setup, lock);
}

/// Acquires the lock. Returns whether a death is reported, or `None` if the lock is not free.
fn enter(setup: &'static Setup, lock: usize) -> Option<bool> {
    let (token, reported) = match acquire_raw(setup, lock, Deadline::Now) {
        Ok(Acquired::Held { token }) => (token, None),
        Ok(Acquired::Recovered(recovery)) => (recovery.token, Some(recovery.death)),
        Ok(Acquired::TimedOut) => {
            if !setup.scenario().may_lose_locks() {
                state::with(|state| state.oracle.wrong("the lock is not free in the final state".to_owned()));
            }
            return None;
        }
        Err(error) => {
            failed(&error);
            return None;
        }
    };
    state::with(|state| state.oracle.enter(OBSERVER, lock, token, reported));
    Some(reported.is_some())
}

fn leave(setup: &'static Setup, lock: usize, condition: Condition) {
    state::with(|state| state.oracle.leave(OBSERVER, lock, Leaving::Released(condition)));
    if let Err(error) = ShmLock::new(setup.slot(lock)).release(Proof(OwnerKind::Thread, condition)) {
        failed(&error);
    }
}

/// Checks that each id is either free or completely allocated, and that each free id can be allocated.
fn check_ids(setup: &'static Setup) {
    let (ids, died, deaths) = state::with(|state| (state.oracle.ids, state.oracle.died_allocating, state.oracle.deaths));
    let wrong = |what: String| state::with(|state| state.oracle.wrong(what));
    let mut free = Vec::new();
    for (id, state) in ids.into_iter().enumerate() {
        let index = FIRST + id;
        if !setup.table.is_allocated(index) {
            free.push(index);
            if matches!(state, Id::Of(_)) {
                wrong(format!("id {index} is free, but a thread has it"));
            }
            continue;
        }
        let allocators = match state {
            Id::Of(thread) | Id::BeingFreedBy(thread) => died | 1 << thread,
            _ => died,
        };
        let label_of =
            setup.table.read(index).filter(|allocation| allocation.generation.is_some()).map(|allocation| allocation.label);
        if !(0..THREADS)
            .any(|thread| allocators & 1 << thread != 0 && label_of.as_ref().is_some_and(|label| is_label_of(thread, label)))
        {
            wrong(format!("id {index} is allocated with the wrong label {label_of:?}"));
        }
    }
    if deaths == 0 && setup.table.first_free() != free.first().copied() {
        wrong("a hint is wrong, although no thread died".to_owned());
    }
    let mut found = Vec::new();
    while let Ok(id) = setup.table.allocate(&label(0, 0)) {
        found.push(id.get() as usize);
    }
    found.sort_unstable();
    if found != free {
        wrong(format!("the ids {free:?} are free, but {found:?} can be allocated"));
    }
}

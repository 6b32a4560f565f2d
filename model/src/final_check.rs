//! Checks at the end of a run.

use crate::act::{ask, failed, is_label_of, label};
use crate::ghost::{Id, LOCKS, Leaving};
use crate::lock::ShmLock;
use crate::scenario::Act;
use crate::scene::{FIRST, OBSERVER, Scene, THREADS};
use crate::{Acquired, Condition, Deadline, Proof, RawLock, world};

/// Runs the observer's checks when no thread can do anything more.
pub(crate) fn finish(scene: &'static Scene) {
    let acts: Vec<Act> = scene.scenario.acts().collect();
    for lock in (0..LOCKS).filter(|lock| acts.iter().any(|act| uses(*act, *lock))) {
        check_lock(scene, lock);
    }
    if acts.iter().any(|act| matches!(act, Act::Allocate | Act::Keep | Act::Exactly(_))) {
        check_ids(scene);
    }
}

/// Whether an act acquires this lock.
fn uses(act: Act, lock: usize) -> bool {
    match act {
        Act::Lock(one) | Act::Leave(one) | Act::Panic(one) | Act::End(one) | Act::Late(one) => one == lock,
        Act::TryLock | Act::TimedLock => lock == 0,
        Act::Both | Act::EndBoth => true,
        _ => false,
    }
}

/// Checks that the lock can be acquired, and that a death is reported until an owner marks the lock consistent.
fn check_lock(scene: &'static Scene, lock: usize) {
    let Some(told) = enter(scene, lock) else { return };
    if told {
        leave(scene, lock, Condition::Inconsistent);
        enter(scene, lock);
        match ShmLock::new(scene.slot(lock)).mark_consistent() {
            Ok(()) => world::with(|world| world.ghost.mark(lock)),
            Err(error) => failed(&error),
        }
    }
    leave(scene, lock, Condition::Consistent);
    enter(scene, lock);
}

/// Acquires the lock. True when a death is reported; `None` when the lock is not free.
fn enter(scene: &'static Scene, lock: usize) -> Option<bool> {
    let (token, told) = match ask(scene, lock, Deadline::Now) {
        Ok(Acquired::Held { token }) => (token, None),
        Ok(Acquired::Recovered(recovery)) => (recovery.token, Some(recovery.death)),
        Ok(Acquired::TimedOut) => {
            if !scene.scenario.may_lose_locks() {
                world::with(|world| world.ghost.wrong("when all is quiet the lock is not free".to_owned()));
            }
            return None;
        }
        Err(error) => {
            failed(&error);
            return None;
        }
    };
    world::with(|world| world.ghost.enter(OBSERVER, lock, token, told));
    Some(told.is_some())
}

fn leave(scene: &'static Scene, lock: usize, condition: Condition) {
    world::with(|world| world.ghost.leave(OBSERVER, lock, Leaving::Released(condition)));
    if let Err(error) = ShmLock::new(scene.slot(lock)).release(Proof(condition)) {
        failed(&error);
    }
}

/// Checks that each id is free or whole, and that each free one can be allocated.
fn check_ids(scene: &'static Scene) {
    let (ids, died, deaths) = world::with(|world| (world.ghost.ids, world.ghost.died_allocating, world.ghost.deaths));
    let wrong = |what: String| world::with(|world| world.ghost.wrong(what));
    let mut free = Vec::new();
    for (id, state) in ids.into_iter().enumerate() {
        let index = FIRST + id;
        if !scene.table.is_allocated(index) {
            free.push(index);
            if matches!(state, Id::Of(_)) {
                wrong(format!("id {index} is free, and somebody has it"));
            }
            continue;
        }
        let allocators = match state {
            Id::Of(thread) | Id::GivenBy(thread) => died | 1 << thread,
            _ => died,
        };
        let label_of =
            scene.table.read(index).filter(|allocation| allocation.generation.is_some()).map(|allocation| allocation.label);
        if !(0..THREADS)
            .any(|thread| allocators & 1 << thread != 0 && label_of.as_ref().is_some_and(|label| is_label_of(thread, label)))
        {
            wrong(format!("id {index} is allocated, and its label is {label_of:?}"));
        }
    }
    if deaths == 0 && scene.table.first_free() != free.first().copied() {
        wrong("nobody died, and a hint is wrong".to_owned());
    }
    let mut found = Vec::new();
    while let Ok(id) = scene.table.allocate(&label(0, 0)) {
        found.push(id.get() as usize);
    }
    found.sort_unstable();
    if found != free {
        wrong(format!("the ids {free:?} are free, and {found:?} can be allocated"));
    }
}

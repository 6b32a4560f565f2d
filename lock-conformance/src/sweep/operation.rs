//! The swept operations: their setup, the action of the target, and the checks after its death.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use lock_core::{
    Capabilities, Capacity, Deadlines, DeathReports, Guard, LockId, Numbering, OpenMode, OwnerDeath, Reconcile, Removal, Result,
};

use nix::sys::wait::waitpid;

use super::scene::{CAPACITY, Check, Dealing, LOCK, Mark, Scene};
use crate::sys;

const LABEL: &str = "swept";

/// Capacity of a store that has to grow for [`FAR`].
const LARGE: u64 = 1100;
const FAR: u32 = 1090;

/// A swept operation.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) applies: fn(&Capabilities) -> bool,
    /// Capacity of the store.
    pub(super) capacity: u64,
    pub(super) prepare: fn(&mut Scene) -> Result<()>,
    /// Runs in the target before it is traced.
    pub(super) settle: fn(&Scene),
    pub(super) act: fn(&Scene),
    /// Checks the store; gets the target's pid.
    pub(super) check: fn(&mut Scene, u32) -> Check,
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "lock and unlock",
        applies: recovers,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: Scene::with_store,
        act: |scene| visit(scene, scene.lock().lock()),
        check: |scene, target| scene.check_lock(target),
    },
    Operation {
        name: "try_lock and unlock",
        applies: recovers,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: Scene::with_store,
        act: |scene| {
            if let Some(guard) = scene.lock().try_lock().transpose() {
                visit(scene, guard);
            }
        },
        check: |scene, target| scene.check_lock(target),
    },
    Operation {
        name: "try_lock_for and unlock",
        applies: recovers_in_time,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: Scene::with_store,
        act: |scene| visit(scene, scene.lock().try_lock_for(Duration::from_secs(60))),
        check: |scene, target| scene.check_lock(target),
    },
    Operation {
        name: "try_lock a lock that is held",
        applies: recovers,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: |scene| {
            scene.with_store()?;
            scene.hold()
        },
        act: |scene| {
            if let Some(guard) = scene.lock().try_lock().transpose() {
                visit(scene, guard);
            }
        },
        check: check_refusal,
    },
    Operation {
        name: "try_lock_for no time",
        applies: recovers_in_time,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: |scene| {
            scene.with_store()?;
            scene.hold()
        },
        act: |scene| visit(scene, scene.lock().try_lock_for(Duration::ZERO)),
        check: check_refusal,
    },
    Operation {
        name: "recover a lock",
        applies: recovers,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: with_a_dead_owner,
        act: |scene| visit(scene, scene.lock().lock()),
        check: check_recovery,
    },
    Operation {
        name: "recover a lock and mark it consistent",
        applies: |claims| recovers(claims) && claims.death_reports == DeathReports::UntilConsistent,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: with_a_dead_owner,
        act: |scene| repair(scene, scene.lock().lock()),
        check: |scene, target| scene.check_recovered_lock(target, earlier(scene), Dealing::Marks),
    },
    Operation {
        name: "recover a lock with a deadline",
        applies: recovers_in_time,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: with_a_dead_owner,
        act: |scene| visit(scene, scene.lock().try_lock_for(Duration::from_secs(60))),
        check: check_recovery,
    },
    Operation {
        name: "allocate",
        applies: is_numbered,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: Scene::with_store,
        act: |scene| drop(scene.store().allocate(label(scene))),
        check: |scene, _| scene.check_ids(&[0], &[LABEL]),
    },
    Operation {
        name: "allocate by id",
        applies: is_numbered,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: Scene::with_store,
        act: |scene| drop(scene.store().allocate_and_retrieve(66, label(scene))),
        check: |scene, _| scene.check_ids(&[66], &[LABEL]),
    },
    Operation {
        name: "free",
        applies: is_numbered,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: with_an_allocation,
        act: |scene| drop(scene.store().free(LOCK)),
        check: |scene, _| scene.check_ids(&[LOCK], &[LABEL]),
    },
    Operation {
        name: "free in a store not looked at lately",
        applies: is_numbered,
        capacity: CAPACITY,
        settle: Scene::settle_and_wait,
        prepare: with_an_allocation,
        act: |scene| drop(scene.store().free(LOCK)),
        check: |scene, _| scene.check_ids(&[LOCK], &[LABEL]),
    },
    Operation {
        name: "free all",
        applies: is_numbered,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: |scene| {
            scene.with_store()?;
            (0..3).try_for_each(|_| scene.store().allocate(label(scene)).map(drop))
        },
        act: |scene| drop(scene.store().free_all()),
        check: |scene, _| scene.check_ids(&[0, 1, 2], &[LABEL]),
    },
    Operation {
        name: "reconcile",
        applies: |claims| is_numbered(claims) && claims.reconcile == Reconcile::Supported,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: |scene| {
            scene.with_store()?;
            (0..3).try_for_each(|_| scene.store().allocate(label(scene)).map(drop))
        },
        act: |scene| drop(scene.store().reconcile([1, 3, 65].map(LockId::new))),
        check: |scene, _| scene.check_ids(&[0, 1, 2, 3, 65], &[LABEL, ""]),
    },
    Operation {
        name: "open and close",
        applies: |_| true,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: |scene| {
            scene.with_store()?;
            scene.forget();
            Ok(())
        },
        act: |scene| drop(scene.open(OpenMode::Open)),
        check: |scene, target| {
            scene.with_store().map_err(|e| format!("the store cannot be opened: {e}"))?;
            if recovers(&scene.capabilities()) {
                scene.check_lock(target)?;
            }
            scene.check_ids(&[], &[])
        },
    },
    Operation {
        name: "create",
        applies: can_go,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: Scene::without_store,
        act: |scene| drop(scene.open(OpenMode::Create)),
        check: check_creation,
    },
    Operation {
        name: "first use of a lock",
        applies: |claims| recovers(claims) && can_go(claims),
        capacity: CAPACITY,
        settle: Scene::settle_without_a_handle,
        prepare: |scene| {
            scene.without_store()?;
            scene.with_store()
        },
        act: |scene| visit(scene, scene.lock().lock()),
        check: |scene, target| scene.check_lock(target).and_then(|()| scene.check_ids(&[], &[])),
    },
    Operation {
        name: "grow",
        applies: |claims| can_go(claims) && claims.capacity == Capacity::Chosen,
        capacity: LARGE,
        settle: Scene::settle,
        prepare: |scene| {
            scene.without_store()?;
            scene.with_store()
        },
        act: |scene| drop(scene.store().allocate_and_retrieve(FAR, label(scene))),
        check: |scene, target| {
            if recovers(&scene.capabilities()) {
                scene.check_lock(target)?;
                let far = scene.store().retrieve(FAR).and_then(|lock| lock.lock_owned().map(drop));
                far.map_err(|e| format!("a lock in the new part cannot be acquired: {e}"))?;
            }
            scene.check_ids(&[FAR], &[LABEL])
        },
    },
    Operation {
        name: "destroy",
        applies: can_go,
        capacity: CAPACITY,
        settle: Scene::settle,
        prepare: Scene::with_store,
        act: |scene| drop(scene.store().destroy()),
        check: |scene, target| {
            // The next process opens what remains of the store or creates a new one, and can destroy it.
            scene.forget();
            check_creation(scene, target)
        },
    },
];

/// Returns whether a lock is released when its owner dies.
pub(super) fn recovers(claims: &Capabilities) -> bool {
    claims.owner_death != OwnerDeath::Stuck
}

pub(super) fn recovers_in_time(claims: &Capabilities) -> bool {
    recovers(claims) && claims.deadlines == Deadlines::Monotonic
}

fn is_numbered(claims: &Capabilities) -> bool {
    claims.numbering == Numbering::Numbered
}

/// Returns whether stores can be created and destroyed repeatedly.
fn can_go(claims: &Capabilities) -> bool {
    claims.removal == Removal::Supported
}

fn label(scene: &Scene) -> &'static str {
    if scene.capabilities().labels == lock_core::Labels::Kept { LABEL } else { "" }
}

/// Executes a critical section and records its progress in marks.
pub(super) fn visit(scene: &Scene, guard: Result<Guard<'_>>) {
    let Ok(guard) = guard else { return };
    scene.mark(Mark::Inside);
    scene.mark(Mark::Leaving);
    if guard.unlock().is_ok() {
        scene.mark(Mark::Done);
    }
}

/// As [`visit`], but marks the lock consistent.
fn repair(scene: &Scene, guard: Result<Guard<'_>>) {
    let Ok(mut guard) = guard else { return };
    scene.mark(Mark::Inside);
    let marked = guard.mark_consistent();
    scene.mark(Mark::Leaving);
    if marked.and_then(|()| guard.unlock()).is_ok() {
        scene.mark(Mark::Done);
    }
}

/// Forks a process that dies while it holds the lock; returns its pid.
fn die_inside(scene: &Scene) -> u32 {
    match sys::fork().expect("a process can be forked") {
        Some(child) => {
            waitpid(child, None).expect("it is a child of this process");
            child.as_raw().unsigned_abs()
        }
        None => {
            std::mem::forget(scene.lock().lock_owned());
            sys::exit_now(0);
        }
    }
}

fn with_an_allocation(scene: &mut Scene) -> Result<()> {
    scene.with_store()?;
    scene.store().allocate_and_retrieve(LOCK, label(scene)).map(drop)
}

fn with_a_dead_owner(scene: &mut Scene) -> Result<()> {
    scene.with_store()?;
    let dead = die_inside(scene);
    scene.note().store(dead.into(), SeqCst);
    Ok(())
}

fn check_recovery(scene: &mut Scene, target: u32) -> Check {
    scene.check_recovered_lock(target, earlier(scene), Dealing::Leaves)
}

/// Returns the pid of the owner that died before the target.
fn earlier(scene: &Scene) -> u32 {
    scene.note().load(SeqCst) as u32
}

/// Checks that a target whose attempt failed did not acquire the lock.
fn check_refusal(scene: &mut Scene, _: u32) -> Check {
    if !scene.marked(Mark::Start) {
        return Err("a held lock was acquired by another process".to_owned());
    }
    scene.let_go();
    scene.check_lock(0)
}

fn check_creation(scene: &mut Scene, target: u32) -> Check {
    scene.with_store().map_err(|e| format!("the store cannot be opened: {e}"))?;
    scene.mark(Mark::Start);
    if recovers(&scene.capabilities()) {
        scene.check_lock(target)?;
    }
    scene.check_ids(&[], &[])?;
    scene.without_store().map_err(|e| format!("the store cannot be destroyed: {e}"))?;
    scene.check_nothing_is_left()
}

//! The swept operations: their setup, the action of the target, and the checks after its death.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Capacity, Deadline, Deadlines, DeathReports, Guard, LockId, Numbering, OpenMode, OwnerDeath,
    Reconcile, Removal, Result, SendGuard, SendGuards,
};

use nix::sys::wait::waitpid;

use super::setup::{CAPACITY, Check, LOCK, Mark, ReportHandling, Setup, WAITER_PATIENCE};
use super::target::is_asleep;
use crate::sys;

pub(super) const LABEL: &str = "swept";

/// Capacity of a store that has to grow for [`FAR`].
const LARGE: u64 = 1100;
const FAR: u32 = 1090;

/// A swept operation.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) applies: fn(&Capabilities) -> bool,
    /// Capacity of the store.
    pub(super) capacity: u64,
    /// Runs in the sweeping process before it forks the target.
    pub(super) prepare: fn(&mut Setup) -> Result<()>,
    /// Runs in the target before it is traced.
    pub(super) attach: fn(&Setup),
    /// The swept action of the target.
    pub(super) act: fn(&Setup),
    /// Checks the store; gets the target's pid.
    pub(super) check: fn(&mut Setup, u32) -> Check,
}

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        name: "lock and unlock",
        applies: recovers,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::with_store,
        act: |setup| visit(setup, setup.lock().lock()),
        check: |setup, target| setup.check_lock(target),
    },
    Operation {
        name: "unlock beside a starved waiter",
        applies: recovers_in_time,
        capacity: CAPACITY,
        attach: hold_beside_a_waiter,
        prepare: Setup::with_store,
        act: |setup| {
            setup.release_held();
            setup.mark(Mark::Done);
        },
        check: |setup, target| {
            setup.check_waiter()?;
            setup.check_lock(target)
        },
    },
    Operation {
        name: "lock_send and unlock",
        applies: sends,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::with_store,
        act: |setup| visit_send(setup, setup.lock().lock_send()),
        check: |setup, target| setup.check_lock(target),
    },
    Operation {
        name: "try_lock and unlock",
        applies: recovers,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::with_store,
        act: |setup| {
            if let Some(guard) = setup.lock().try_lock().transpose() {
                visit(setup, guard);
            }
        },
        check: |setup, target| setup.check_lock(target),
    },
    Operation {
        name: "try_lock_for and unlock",
        applies: recovers_in_time,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::with_store,
        act: |setup| visit(setup, setup.lock().try_lock_for(Duration::from_secs(60))),
        check: |setup, target| setup.check_lock(target),
    },
    Operation {
        name: "try_lock a lock that is held",
        applies: recovers,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: |setup| {
            setup.with_store()?;
            setup.hold()
        },
        act: |setup| {
            if let Some(guard) = setup.lock().try_lock().transpose() {
                visit(setup, guard);
            }
        },
        check: check_refusal,
    },
    Operation {
        name: "try_lock_for no time",
        applies: recovers_in_time,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: |setup| {
            setup.with_store()?;
            setup.hold()
        },
        act: |setup| give_up(setup, Duration::ZERO),
        check: check_refusal,
    },
    Operation {
        name: "recover a lock",
        applies: recovers,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: with_a_dead_owner,
        act: |setup| visit(setup, setup.lock().lock()),
        check: check_recovery,
    },
    Operation {
        name: "recover a lock for the process",
        applies: sends,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: with_a_dead_owner,
        act: |setup| visit_send(setup, setup.lock().lock_send()),
        check: check_recovery,
    },
    Operation {
        name: "recover a lock and mark it consistent",
        applies: |claims| recovers(claims) && claims.death_reports == DeathReports::UntilConsistent,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: with_a_dead_owner,
        act: |setup| repair(setup, setup.lock().lock()),
        check: |setup, target| setup.check_recovered_lock(target, earlier(setup), ReportHandling::Marks),
    },
    Operation {
        name: "recover a lock with a deadline",
        applies: recovers_in_time,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: with_a_dead_owner,
        act: |setup| visit(setup, setup.lock().try_lock_for(Duration::from_secs(60))),
        check: check_recovery,
    },
    Operation {
        name: "allocate",
        applies: is_numbered,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::with_store,
        act: |setup| drop(setup.store().allocate(label(setup))),
        check: |setup, _| setup.check_ids(&[0], &[LABEL]),
    },
    Operation {
        name: "allocate by id",
        applies: is_numbered,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::with_store,
        act: |setup| drop(setup.store().allocate_and_retrieve(66, label(setup))),
        check: |setup, _| setup.check_ids(&[66], &[LABEL]),
    },
    Operation {
        name: "free",
        applies: is_numbered,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: with_an_allocation,
        act: |setup| drop(setup.store().free(LOCK)),
        check: |setup, _| setup.check_ids(&[LOCK], &[LABEL]),
    },
    Operation {
        name: "free in a store not looked at lately",
        applies: is_numbered,
        capacity: CAPACITY,
        attach: Setup::attach_and_wait,
        prepare: with_an_allocation,
        act: |setup| drop(setup.store().free(LOCK)),
        check: |setup, _| setup.check_ids(&[LOCK], &[LABEL]),
    },
    Operation {
        name: "free all",
        applies: is_numbered,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: |setup| {
            setup.with_store()?;
            (0..3).try_for_each(|_| setup.store().allocate(label(setup)).map(drop))
        },
        act: |setup| drop(setup.store().free_all()),
        check: |setup, _| setup.check_ids(&[0, 1, 2], &[LABEL]),
    },
    Operation {
        name: "reconcile",
        applies: |claims| is_numbered(claims) && claims.reconcile == Reconcile::Supported,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: |setup| {
            setup.with_store()?;
            (0..3).try_for_each(|_| setup.store().allocate(label(setup)).map(drop))
        },
        act: |setup| drop(setup.store().reconcile([1, 3, 65].map(LockId::new))),
        check: |setup, _| setup.check_ids(&[0, 1, 2, 3, 65], &[LABEL, ""]),
    },
    Operation {
        name: "open and close",
        applies: |_| true,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: |setup| {
            setup.with_store()?;
            setup.forget();
            Ok(())
        },
        act: |setup| drop(setup.open(OpenMode::Open)),
        check: |setup, target| {
            setup.with_store().map_err(|e| format!("the store cannot be opened: {e}"))?;
            if recovers(&setup.capabilities()) {
                setup.check_lock(target)?;
            }
            setup.check_ids(&[], &[])
        },
    },
    Operation {
        name: "create",
        applies: can_go,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::without_store,
        act: |setup| drop(setup.open(OpenMode::Create)),
        check: check_creation,
    },
    Operation {
        name: "first use of a lock",
        applies: |claims| recovers(claims) && can_go(claims),
        capacity: CAPACITY,
        attach: Setup::attach_without_handle,
        prepare: |setup| {
            setup.without_store()?;
            setup.with_store()
        },
        act: |setup| visit(setup, setup.lock().lock()),
        check: |setup, target| setup.check_lock(target).and_then(|()| setup.check_ids(&[], &[])),
    },
    Operation {
        name: "grow",
        applies: |claims| can_go(claims) && claims.capacity == Capacity::Chosen,
        capacity: LARGE,
        attach: Setup::attach,
        prepare: |setup| {
            setup.without_store()?;
            setup.with_store()
        },
        act: |setup| drop(setup.store().allocate_and_retrieve(FAR, label(setup))),
        check: |setup, target| {
            if recovers(&setup.capabilities()) {
                setup.check_lock(target)?;
                let far = setup.store().retrieve(FAR).and_then(|lock| lock.lock_owned().map(drop));
                far.map_err(|e| format!("a lock in the new part cannot be acquired: {e}"))?;
            }
            setup.check_ids(&[FAR], &[LABEL])
        },
    },
    Operation {
        name: "destroy",
        applies: can_go,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::with_store,
        act: |setup| drop(setup.store().destroy()),
        check: |setup, target| {
            // The next process opens what remains of the store or creates a new one, and can destroy it.
            setup.forget();
            check_creation(setup, target)
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

/// Returns whether a lock of a process is released when the process dies.
pub(super) fn sends(claims: &Capabilities) -> bool {
    recovers(claims) && claims.send_guards == SendGuards::Supported
}

fn is_numbered(claims: &Capabilities) -> bool {
    claims.numbering == Numbering::Numbered
}

/// Returns whether stores can be created and destroyed repeatedly.
pub(super) fn can_go(claims: &Capabilities) -> bool {
    claims.removal == Removal::Supported
}

pub(super) fn label(setup: &Setup) -> &'static str {
    if setup.capabilities().labels == lock_core::Labels::Kept { LABEL } else { "" }
}

/// Waits for the lock, which is held and stays held, and gives up.
///
/// The error of a wait names the holder. A backend that records no holder searches for it in `/proc`, which has too many instructions to step
/// through. With such a backend only its own part of the wait is executed.
pub(super) fn give_up(setup: &Setup, timeout: Duration) {
    match setup.raw_lock() {
        Some(raw) => {
            if let Ok(Acquired::Held { .. } | Acquired::Recovered(_)) = raw.acquire(Deadline::after(timeout)) {
                setup.mark(Mark::Inside);
            }
        }
        None => visit(setup, setup.lock().try_lock_for(timeout)),
    }
}

/// Executes a critical section and records its progress in marks.
pub(super) fn visit(setup: &Setup, guard: Result<Guard<'_>>) {
    visit_by(setup, guard, Guard::unlock);
}

/// As [`visit`], with a guard of the process.
pub(super) fn visit_send(setup: &Setup, guard: Result<SendGuard<'_>>) {
    visit_by(setup, guard, SendGuard::unlock);
}

fn visit_by<G>(setup: &Setup, guard: Result<G>, unlock: fn(G) -> Result<()>) {
    let Ok(guard) = guard else { return };
    setup.mark(Mark::Inside);
    setup.mark(Mark::Leaving);
    if unlock(guard).is_ok() {
        setup.mark(Mark::Done);
    }
}

/// As [`visit`], but marks the lock consistent.
fn repair(setup: &Setup, guard: Result<Guard<'_>>) {
    let Ok(mut guard) = guard else { return };
    setup.mark(Mark::Inside);
    let marked = guard.mark_consistent();
    setup.mark(Mark::Leaving);
    if marked.and_then(|()| guard.unlock()).is_ok() {
        setup.mark(Mark::Done);
    }
}

/// Acquires the lock, and forks a process that waits for it. Returns when that process has slept for a while.
///
/// A process that waits for longer than a millisecond may be served by another route.
fn hold_beside_a_waiter(setup: &Setup) {
    const A_WHILE: Duration = Duration::from_millis(5);
    setup.attach();
    setup.hold_in_target();
    match sys::fork().expect("a process can be forked") {
        Some(waiter) => {
            while !is_asleep(waiter) {
                std::thread::yield_now();
            }
            std::thread::sleep(A_WHILE);
        }
        None => {
            // It is not killed with the target. Its deadline ends it if a wake-up is lost.
            if setup.lock().try_lock_for(10 * WAITER_PATIENCE).is_ok() {
                setup.note().store(1, SeqCst);
            }
            sys::exit_now(0);
        }
    }
    setup.mark(Mark::Leaving);
}

/// Forks a process that dies while it holds the lock; returns its pid.
fn die_inside(setup: &Setup) -> u32 {
    match sys::fork().expect("a process can be forked") {
        Some(child) => {
            waitpid(child, None).expect("it is a child of this process");
            child.as_raw().unsigned_abs()
        }
        None => {
            std::mem::forget(setup.lock().lock_owned());
            sys::exit_now(0);
        }
    }
}

fn with_an_allocation(setup: &mut Setup) -> Result<()> {
    setup.with_store()?;
    setup.store().allocate_and_retrieve(LOCK, label(setup)).map(drop)
}

fn with_a_dead_owner(setup: &mut Setup) -> Result<()> {
    setup.with_store()?;
    let dead = die_inside(setup);
    setup.note().store(dead.into(), SeqCst);
    Ok(())
}

fn check_recovery(setup: &mut Setup, target: u32) -> Check {
    setup.check_recovered_lock(target, earlier(setup), ReportHandling::Leaves)
}

/// Returns the pid of the owner that died before the target.
fn earlier(setup: &Setup) -> u32 {
    setup.note().load(SeqCst) as u32
}

/// Checks that a target whose attempt failed did not acquire the lock.
fn check_refusal(setup: &mut Setup, _: u32) -> Check {
    if !setup.marked(Mark::Start) {
        return Err("a held lock was acquired by another process".to_owned());
    }
    setup.release();
    setup.check_lock(0)
}

fn check_creation(setup: &mut Setup, target: u32) -> Check {
    setup.with_store().map_err(|e| format!("the store cannot be opened: {e}"))?;
    setup.mark(Mark::Start);
    if recovers(&setup.capabilities()) {
        setup.check_lock(target)?;
    }
    setup.check_ids(&[], &[])?;
    setup.without_store().map_err(|e| format!("the store cannot be destroyed: {e}"))?;
    setup.check_nothing_is_left()
}

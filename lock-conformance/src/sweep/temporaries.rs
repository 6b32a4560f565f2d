//! The swept operations that raise the capacity, allocate a temporary id, or reclaim one.

use lock_core::{Capabilities, Capacity, Growth, Result, Temporary};
use nix::sys::wait::waitpid;

use super::operation::{LABEL, Operation, can_go, label, recovers};
use super::setup::{CAPACITY, Check, LOCK, Setup};
use crate::sys;

/// The capacity to which a store is raised.
const RAISED: u64 = 2 * CAPACITY;

pub(super) const TEMPORARIES: &[Operation] = &[
    Operation {
        name: "raise the capacity",
        applies: |claims| can_go(claims) && claims.growth == Growth::Supported && claims.capacity == Capacity::Chosen,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: |setup| {
            setup.without_store()?;
            setup.with_store()?;
            setup.store().allocate_and_retrieve(LOCK, label(setup)).map(drop)
        },
        act: |setup| drop(setup.store().grow(RAISED)),
        check: check_capacity,
    },
    Operation {
        name: "allocate a temporary id",
        applies: has_temporaries,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: Setup::with_store,
        act: |setup| drop(setup.store().allocate_temporary(label(setup))),
        check: check_reclaimed,
    },
    Operation {
        name: "reclaim",
        applies: has_temporaries,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare: |setup| {
            setup.with_store()?;
            leave_temporaries(setup);
            Ok(())
        },
        act: |setup| drop(setup.store().reclaim()),
        check: check_reclaimed,
    },
];

fn has_temporaries(claims: &Capabilities) -> bool {
    claims.temporary == Temporary::Reclaimed
}

/// Checks that the store has the earlier capacity or the new one, that it can be raised, and that its allocation is intact.
fn check_capacity(setup: &mut Setup, target: u32) -> Check {
    let text = |error: lock_core::Error| error.to_string();
    let capacity = setup.store().capacity();
    if ![Some(CAPACITY), Some(RAISED)].contains(&capacity) {
        return Err(format!("the capacity is {capacity:?}, and not {CAPACITY} or {RAISED}"));
    }
    // Another process opens the store.
    setup.forget();
    let store = setup.open(lock_core::OpenMode::Open).map_err(text)?;
    let allocation = store.allocation(LOCK).map_err(text)?;
    if store.capacity() != capacity || allocation.is_none_or(|allocation| allocation.label.as_str() != label(setup)) {
        return Err(format!("a new process finds the capacity {:?} instead of {capacity:?}, or no allocation", store.capacity()));
    }
    store.grow(RAISED).map_err(text)?;
    drop(store);
    // A store is opened, and its ids are freed.
    setup.with_store().map_err(text)?;
    if recovers(&setup.capabilities()) {
        setup.check_lock(target)?;
    }
    setup.check_ids(&[], &[LABEL])
}

/// Leaves two temporary ids of a process that has ended.
fn leave_temporaries(setup: &Setup) {
    match sys::fork().expect("a process can be forked") {
        Some(child) => drop(waitpid(child, None)),
        None => {
            let allocated: Result<Vec<_>> = (0..2).map(|_| setup.store().allocate_temporary(label(setup))).collect();
            std::mem::forget(allocated);
            sys::exit_now(0);
        }
    }
}

/// Checks that the ids that are left can be reclaimed, and that none is lost.
fn check_reclaimed(setup: &mut Setup, _: u32) -> Check {
    let text = |error: lock_core::Error| error.to_string();
    let left: Vec<_> = setup.store().allocated().map_err(text)?.into_iter().map(|allocation| allocation.id).collect();
    let reclaimed = setup.store().reclaim().map_err(text)?;
    if reclaimed != left {
        return Err(format!("the ids {left:?} were allocated, and {reclaimed:?} were reclaimed"));
    }
    setup.check_ids(&[], &[])
}

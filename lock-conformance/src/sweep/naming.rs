//! The swept operations that allocate a name.

use lock_core::{Capabilities, Names, Result};

use super::operation::{LABEL, Operation, can_go, label};
use super::setup::{CAPACITY, Check, Setup};

/// The ids of a store of [`CAPACITY`] locks, in two groups of a table.
const FIRST: u32 = 0;
const LAST: u32 = CAPACITY as u32 - 1;

pub(super) const NAMING: &[Operation] = &[
    naming("allocate by name", has_names, Setup::with_store),
    naming("find a name", has_names, |setup| {
        setup.with_store()?;
        setup.store().named(LABEL).map(drop)
    }),
    // The name has to pass a full group in one of these stores.
    naming("allocate by name when the first id is free", can_fill, |setup| with_one_free_id(setup, FIRST)),
    naming("allocate by name when the last id is free", can_fill, |setup| with_one_free_id(setup, LAST)),
];

/// The operation that finds or allocates the name in a store that `prepare` creates.
const fn naming(name: &'static str, applies: fn(&Capabilities) -> bool, prepare: fn(&mut Setup) -> Result<()>) -> Operation {
    Operation {
        name,
        applies,
        capacity: CAPACITY,
        attach: Setup::attach,
        prepare,
        act: |setup| drop(setup.store().named(LABEL)),
        check: |setup, _| check_name(setup),
    }
}

/// Whether the backend has names, and a filled store can be removed.
fn can_fill(claims: &Capabilities) -> bool {
    has_names(claims) && can_go(claims)
}

fn has_names(claims: &Capabilities) -> bool {
    claims.names == Names::Supported
}

/// Creates a store in which only this id is free. A new store has no traces of earlier names.
fn with_one_free_id(setup: &mut Setup, free: u32) -> Result<()> {
    setup.without_store()?;
    setup.with_store()?;
    for _ in 0..CAPACITY {
        drop(setup.store().allocate(label(setup))?);
    }
    setup.store().free(free)
}

/// Checks that there is at most one lock with the name, that the name leads to it, and that no id is lost.
fn check_name(setup: &mut Setup) -> Check {
    let text = |error: lock_core::Error| error.to_string();
    let listed = || {
        let allocated = setup.store().allocated().map_err(text)?;
        let named = allocated.into_iter().filter(|one| one.is_named);
        Ok::<_, String>(named.map(|one| (one.id, one.label.as_str().to_owned())).collect::<Vec<_>>())
    };
    let before = listed()?;
    let found = setup.store().named(LABEL).map_err(text)?.id();
    if before.iter().any(|left| *left != (found, LABEL.to_owned())) {
        return Err(format!("the name leads to the id {found}, and the ids {before:?} have names"));
    }
    let again = setup.store().named(LABEL).map_err(text)?.id();
    let after = listed()?;
    if again != found || after != [(found, LABEL.to_owned())] {
        return Err(format!("the name leads to the ids {found} and {again}, and the ids {after:?} have names"));
    }
    // Other names are neither blocked nor lost, in a store in which ids are freed.
    for id in [FIRST, LAST].into_iter().filter(|id| *id != found.get()) {
        match setup.store().free(id) {
            Err(error) if error.kind() != lock_core::ErrorKind::NotAllocated => return Err(text(error)),
            _ => {}
        }
    }
    let again = setup.store().named(LABEL).map_err(text)?.id();
    if again != found {
        return Err(format!("the name led to the id {found}, and leads to {again} after other ids were freed"));
    }
    let ids: Vec<_> = (FIRST..=LAST).collect();
    setup.check_ids(&ids, &[LABEL])
}

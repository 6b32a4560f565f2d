//! Wrong backends that return a wrong allocation of an id, or that change it.

use std::collections::BTreeMap;

use lock_core::{Allocation, Error, Label, LockId, Manager, Reconciled, Result};

use super::Faulty;
use super::fault::{Fault, faulty};

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<ReturnsTheNextAllocation>(),
        faulty::<OmitsTheFirstIdOfAPart>(),
        faulty::<RelabelsAnAllocatedId>(),
        faulty::<RefusesAnAllocatedIdDifferently>(),
        faulty::<ReconcilesWithoutLabels>(),
        faulty::<RelabelsWhenItReconciles>(),
    ]
}

#[derive(Debug)]
struct ReturnsTheNextAllocation;

impl Fault for ReturnsTheNextAllocation {
    const NAME: &'static str = "returns-the-next-allocation";
    const FAULT: &'static str = "Returns the allocation of a greater id if the id is free";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::the_allocation_of_an_id_is_that_of_the_list", "has an allocation")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn allocation(honest: &dyn Manager, id: LockId) -> Result<Option<Allocation>> {
        let next = honest.allocated_from(id, 1)?.into_iter().next();
        Ok(next.map(|allocation| {
            let mut other = allocation;
            other.id = id;
            other
        }))
    }
}

#[derive(Debug)]
struct OmitsTheFirstIdOfAPart;

impl Fault for OmitsTheFirstIdOfAPart {
    const NAME: &'static str = "omits-the-first-id-of-a-part";
    const FAULT: &'static str = "Begins each part of a list after the given id";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::a_list_in_parts_has_each_id_once", "differs from the list of one call")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn allocated_from(honest: &dyn Manager, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        let after = if from.get() == 0 { from } else { LockId::new(from.get() + 1) };
        Ok(honest.allocated_from(after, limit)?.into_iter().take(limit).collect())
    }
}

#[derive(Debug)]
struct RelabelsAnAllocatedId;

impl Fault for RelabelsAnAllocatedId {
    const NAME: &'static str = "relabels-an-allocated-id";
    const FAULT: &'static str = "Writes the label of an allocated id before it refuses to allocate it";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("allocation::an_allocated_id_is_found_and_keeps_its_label", "the call changed its allocation")];

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        if honest.allocation(id)?.is_none() {
            return honest.allocate_exact(id, label);
        }
        honest.free(id, None)?;
        honest.allocate_exact(id, label)?;
        Err(Error::already_allocated())
    }
}

#[derive(Debug)]
struct RefusesAnAllocatedIdDifferently;

impl Fault for RefusesAnAllocatedIdDifferently {
    const NAME: &'static str = "refuses-an-allocated-id-differently";
    const FAULT: &'static str = "Refuses an allocated id with an error that means another thing";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("allocation::an_allocated_id_is_found_and_keeps_its_label", "was refused"),
        ("allocation::all_who_race_to_find_an_id_get_its_lock", "was refused"),
    ];

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        honest.allocate_exact(id, label).map_err(|_| Error::unsupported("the id is busy"))
    }
}

#[derive(Debug)]
struct ReconcilesWithoutLabels;

impl Fault for ReconcilesWithoutLabels {
    const NAME: &'static str = "reconciles-without-labels";
    const FAULT: &'static str = "Drops the labels of the ids that it allocates when it reconciles";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reconciling::a_label_is_that_of_a_new_allocation", "a new allocation gets its label")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn reconcile(honest: &dyn Manager, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        honest.reconcile(&ids.keys().map(|id| (*id, Label::default())).collect())
    }
}

#[derive(Debug)]
struct RelabelsWhenItReconciles;

impl Fault for RelabelsWhenItReconciles {
    const NAME: &'static str = "relabels-when-it-reconciles";
    const FAULT: &'static str = "Replaces the labels of the ids that stay allocated when it reconciles";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reconciling::a_label_is_that_of_a_new_allocation", "an earlier one keeps its own")];

    fn reconcile(honest: &dyn Manager, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        let done = honest.reconcile(ids)?;
        for (id, label) in ids.iter().filter(|(id, _)| !done.allocated.contains(id)) {
            honest.free(*id, None)?;
            honest.allocate_exact(*id, label)?;
        }
        Ok(done)
    }
}

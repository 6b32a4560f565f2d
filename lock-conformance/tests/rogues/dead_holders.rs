//! Wrong backends that name a dead owner as the holder of a lock.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use lock_core::{Acquired, Deadline, HeldLock, Holder, LockId, Manager, OwnerKind, Proof, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::rarely::{Operation, is_due, rarely};
use super::trying::process_in_file;

pub(super) fn all() -> Vec<Faulty> {
    vec![faulty::<NamesADeadHolder>(), rarely::<NamesADeadHolder>(), faulty::<ListsADeadHolder>(), rarely::<ListsADeadHolder>()]
}

/// Returns the recorded owner of a lock, alive or dead.
fn recorded_owner(url: &StoreUrl, id: LockId) -> Option<Holder> {
    process_in_file(url, id).map(Holder::of_process)
}

#[derive(Debug)]
struct NamesADeadHolder;

impl Fault for NamesADeadHolder {
    const NAME: &'static str = "names-a-dead-holder";
    const FAULT: &'static str = "Names the recorded owner without checking that it is alive";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::a_dead_owner_is_no_holder", "holder() names a process, although its owner died")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(RecordedOwner { honest: honest.lock(id)?, url: url.clone(), id }))
    }
}

#[derive(Debug)]
struct RecordedOwner {
    honest: Arc<dyn RawLock>,
    url: StoreUrl,
    id: LockId,
}

impl RawLock for RecordedOwner {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.honest.acquire(deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        if is_due(Operation::Holder) { Ok(recorded_owner(&self.url, self.id)) } else { self.honest.holder() }
    }
}

#[derive(Debug)]
struct ListsADeadHolder;

impl Fault for ListsADeadHolder {
    const NAME: &'static str = "lists-a-dead-holder";
    const FAULT: &'static str = "Lists each lock with a recorded owner, alive or dead";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("listing::a_dead_owner_is_no_holder", "held() lists the lock 0, although its owner died")];
    const RARE: &'static [Operation] = &[Operation::Held];

    fn held(_: &dyn Manager, url: &StoreUrl) -> Result<Vec<HeldLock>> {
        let files = fs::read_dir(format!("{}/locks", url.location().display())).into_iter().flatten().flatten();
        let ids: BTreeSet<_> = files.filter_map(|file| file.file_name().to_str()?.parse().ok()).collect();
        Ok(ids.into_iter().filter_map(|id| Some(HeldLock::new(id, Some(recorded_owner(url, id)?)))).collect())
    }
}

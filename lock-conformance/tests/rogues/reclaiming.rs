//! Wrong backends that reclaim temporary ids incorrectly.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lock_core::{Allocation, Capabilities, Error, Label, LockId, Manager, Result, StoreUrl, Temporary};

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<KeepsIdsOfTheDead>(),
        faulty::<ReclaimsIdsOfTheLiving>(),
        faulty::<TakesTheStoppedForDead>(),
        faulty::<ReclaimsOtherIds>(),
        faulty::<ReclaimsHeldIds>(),
        faulty::<ReclaimsByPid>(),
        faulty::<RemembersFreedIds>(),
        faulty::<KeepsIdsForChildren>(),
        faulty::<ReclaimsInARace>(),
        faulty::<LosesIdsThatItReclaims>(),
        faulty::<ListsNoTemporaries>(),
        faulty::<ReclaimsWithoutClaim>(),
    ]
}

fn pid_of(allocation: &Allocation) -> Option<u32> {
    allocation.allocator.as_ref().map(|holder| holder.pid)
}

fn exists(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists() && state_of(pid) != Some('Z')
}

fn state_of(pid: u32) -> Option<char> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next()
}

/// Frees each allocated id for which `is_left` returns true.
fn free_each(honest: &dyn Manager, is_left: impl Fn(&Allocation) -> Result<bool>) -> Result<Vec<LockId>> {
    let mut freed = Vec::new();
    for allocation in honest.allocated()? {
        if is_left(&allocation)? && honest.free(allocation.id, None).is_ok() {
            freed.push(allocation.id);
        }
    }
    Ok(freed)
}

#[derive(Debug)]
struct KeepsIdsOfTheDead;

impl Fault for KeepsIdsOfTheDead {
    const NAME: &'static str = "keeps-ids-of-the-dead";
    const FAULT: &'static str = "Reclaims nothing";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::the_temporary_ids_of_a_dead_process_are_reclaimed", "were not reclaimed")];

    fn reclaim(_: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct ReclaimsIdsOfTheLiving;

impl Fault for ReclaimsIdsOfTheLiving {
    const NAME: &'static str = "reclaims-ids-of-the-living";
    const FAULT: &'static str = "Reclaims the temporary ids of all other processes";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::the_temporary_ids_of_live_processes_stay_allocated", "of a live process were reclaimed")];

    fn reclaim(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        free_each(honest, |allocation| Ok(allocation.is_temporary && pid_of(allocation) != Some(std::process::id())))
    }
}

#[derive(Debug)]
struct TakesTheStoppedForDead;

impl Fault for TakesTheStoppedForDead {
    const NAME: &'static str = "reclaims-ids-of-the-stopped";
    const FAULT: &'static str = "Reclaims the temporary ids of a process that does not run";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::the_temporary_ids_of_a_stopped_process_stay_allocated", "of a stopped process was reclaimed")];

    fn reclaim(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        let runs = |pid| exists(pid) && state_of(pid) != Some('T');
        free_each(honest, |allocation| Ok(allocation.is_temporary && !pid_of(allocation).is_some_and(runs)))
    }
}

#[derive(Debug)]
struct ReclaimsOtherIds;

impl Fault for ReclaimsOtherIds {
    const NAME: &'static str = "reclaims-other-ids";
    const FAULT: &'static str = "Reclaims all ids of dead processes";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::other_ids_of_a_dead_process_stay_allocated", "other ids than the temporary ones")];

    fn reclaim(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        free_each(honest, |allocation| Ok(!pid_of(allocation).is_some_and(exists)))
    }
}

#[derive(Debug)]
struct ReclaimsHeldIds;

impl Fault for ReclaimsHeldIds {
    const NAME: &'static str = "reclaims-held-ids";
    const FAULT: &'static str = "Reclaims an id whose lock a live process holds";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::a_temporary_id_whose_lock_is_held_stays_allocated", "although a live process holds its lock")];

    fn reclaim(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        free_each(honest, |allocation| Ok(allocation.is_temporary && !pid_of(allocation).is_some_and(exists)))
    }
}

#[derive(Debug)]
struct ReclaimsByPid;

impl Fault for ReclaimsByPid {
    const NAME: &'static str = "reclaims-by-pid";
    const FAULT: &'static str = "Considers a process dead if its pid does not exist in the PID namespace of the caller";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::the_temporary_ids_of_a_process_in_another_namespace_stay_allocated", "in another PID namespace")];

    fn reclaim(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        // A pid of another namespace is small. It belongs to another program here, or to none.
        let is_peer = |pid: u32| {
            let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            exists(pid) && name.starts_with("lock-conformance-peer")
        };
        free_each(honest, |allocation| {
            let is_left = allocation.is_temporary && !pid_of(allocation).is_some_and(is_peer);
            Ok(is_left && honest.lock(allocation.id)?.holder()?.is_none())
        })
    }
}

#[derive(Debug)]
struct RemembersFreedIds;

impl Fault for RemembersFreedIds {
    const NAME: &'static str = "remembers-freed-ids";
    const FAULT: &'static str = "Reclaims an id that was temporary once, and that another process has allocated since";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::a_temporary_id_that_was_freed_is_not_reclaimed", "that its allocator has freed")];

    fn free(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        let was_temporary = honest.allocation(id)?.is_some_and(|allocation| allocation.is_temporary);
        honest.free(id, None)?;
        if was_temporary {
            let _ = fs::write(url.location().join(format!("freed-{id}")), "");
        }
        Ok(())
    }

    fn reclaim(honest: &dyn Manager, url: &StoreUrl) -> Result<Vec<LockId>> {
        let mut freed = honest.reclaim()?;
        freed.extend(free_each(honest, |allocation| Ok(url.location().join(format!("freed-{}", allocation.id)).exists()))?);
        Ok(freed)
    }
}

#[derive(Debug)]
struct KeepsIdsForChildren;

impl Fault for KeepsIdsForChildren {
    const NAME: &'static str = "keeps-ids-for-children";
    const FAULT: &'static str = "Keeps the temporary ids of a dead process while a process that it has forked lives";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::a_forked_child_does_not_keep_the_temporary_ids_of_its_parent", "of a dead parent was not reclaimed")];

    fn allocate_temporary(honest: &dyn Manager, label: &Label) -> Result<LockId> {
        // A child inherits the descriptor.
        let id = honest.allocate_temporary(label)?;
        let name = format!("kept-{}-{id}", std::process::id());
        let kept = memfd_create(&*name, MFdFlags::empty()).map_err(|errno| Error::system("memfd_create", errno))?;
        std::mem::forget(kept);
        Ok(id)
    }

    fn reclaim(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        let kept = |pid: u32, id: LockId| {
            let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
            let mut files = processes.flat_map(|process| fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten());
            let name = format!("memfd:kept-{pid}-{id} (deleted)");
            files.any(|file| fs::read_link(file.path()).is_ok_and(|target| target.to_string_lossy().ends_with(&name)))
        };
        free_each(honest, |allocation| {
            let is_kept = pid_of(allocation).is_some_and(|pid| kept(pid, allocation.id));
            Ok(allocation.is_temporary && !is_kept && honest.lock(allocation.id)?.holder()?.is_none())
        })
    }
}

#[derive(Debug)]
struct ReclaimsInARace;

impl Fault for ReclaimsInARace {
    const NAME: &'static str = "reclaims-in-a-race";
    const FAULT: &'static str = "Reports all ids that it found, also those that another process has reclaimed meanwhile";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::of_several_processes_one_reclaims_an_id", "several processes reclaimed an id")];

    fn reclaim(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        let before = honest.allocated()?;
        thread::sleep(Duration::from_millis(2));
        honest.reclaim()?;
        let after: Vec<_> = honest.allocated()?.into_iter().map(|allocation| allocation.id).collect();
        Ok(before.into_iter().map(|allocation| allocation.id).filter(|id| !after.contains(id)).collect())
    }
}

#[derive(Debug)]
struct LosesIdsThatItReclaims;

impl Fault for LosesIdsThatItReclaims {
    const NAME: &'static str = "loses-ids-that-it-reclaims";
    const FAULT: &'static str = "Allocates an id without mark while it reclaims it";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "reclaiming::a_process_killed_while_it_reclaims_loses_no_id",
        "stays allocated after a process that reclaimed it was killed",
    )];

    fn reclaim(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<LockId>> {
        let freed = honest.reclaim()?;
        for id in &freed {
            honest.allocate_exact(*id, &Label::default())?;
        }
        thread::sleep(Duration::from_millis(10));
        freed.iter().try_for_each(|id| honest.free(*id, None))?;
        Ok(freed)
    }
}

#[derive(Debug)]
struct ListsNoTemporaries;

impl Fault for ListsNoTemporaries {
    const NAME: &'static str = "lists-no-temporaries";
    const FAULT: &'static str = "Does not say that an allocation is temporary";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::a_temporary_id_is_listed_as_such", "other facts of the id")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn allocated(honest: &dyn Manager) -> Result<Vec<Allocation>> {
        let mut allocated = honest.allocated()?;
        allocated.iter_mut().for_each(|allocation| allocation.is_temporary = false);
        Ok(allocated)
    }
}

#[derive(Debug)]
struct ReclaimsWithoutClaim;

impl Fault for ReclaimsWithoutClaim {
    const NAME: &'static str = "reclaims-without-a-claim";
    const FAULT: &'static str = "Has temporary ids, but does not claim so";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reclaiming::temporary_ids_and_reclaiming_are_refused", "it should have been Unsupported")];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = reference::CLAIMS.with_temporary(Temporary::Unsupported);
}

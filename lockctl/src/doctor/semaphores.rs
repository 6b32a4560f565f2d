//! Semaphore sets: those that a removed store has left behind, and the kernel's limits on them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use lock_any::{Store, StoreId, StoreUrl};

use super::finding::{Finding, few};
use super::mappings::shared_mappings;

/// The directory of stores with a plain name.
const DIRECTORY: &str = "/dev/shm";

/// The number of sets that are named.
const FEW: usize = 10;

/// Examines the sets for a store of `sem:` with this file.
pub(super) fn examine(file: Option<&Path>, store: Option<&Store>) -> Vec<Finding> {
    let directory = file.and_then(Path::parent).unwrap_or(Path::new(DIRECTORY));
    left_over(directory, store).into_iter().chain(few_sets()).collect()
}

/// Finds sets whose store is neither this one, nor in its directory or that of named stores, nor in use.
fn left_over(directory: &Path, store: Option<&Store>) -> Option<Finding> {
    let mut sets = lock_sem::sysv::sets().unwrap_or_default();
    if sets.is_empty() {
        return None;
    }
    let listed = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = listed(Path::new(DIRECTORY)).filter(|path| path.extension().is_some_and(|extension| extension == "sem"));
    let in_use = shared_mappings().into_iter().filter(|mapping| !mapping.is_deleted).map(|mapping| mapping.path);
    let files: BTreeSet<_> = named.chain(listed(directory)).chain(in_use).filter(|path| path.is_file()).collect();
    let stores: BTreeSet<StoreId> = files.iter().filter_map(|path| id_of(path)).chain(store.map(Store::id)).collect();
    sets.retain(|set| !stores.contains(&set.store));
    let count = sets.len() as u64;
    let ids: Vec<_> = sets.iter().take(FEW).map(|set| set.semid.to_string()).collect();
    let text = format!(
        "{} {} to no store in {DIRECTORY} or {}, and to none that a process has open",
        if count == 1 { "semaphore set" } else { "semaphore sets" },
        few(&ids, count) + if count == 1 { " belongs" } else { " belong" },
        directory.display()
    );
    let remedy =
        format!("if the file of its store was deleted without `lockctl destroy`, remove the set by `ipcrm -s {}`", ids.first()?);
    Some(Finding::warning("semaphore_sets", text, remedy))
}

/// Returns the id of a store of `sem:` at this path.
fn id_of(path: &Path) -> Option<StoreId> {
    let url = StoreUrl::builder("sem").path(path).option("owner", "any").build().ok()?;
    lock_any::open(url).ok().map(|store| store.id())
}

/// Checks the number of sets against the limit of the kernel.
fn few_sets() -> Option<Finding> {
    let limits = fs::read_to_string("/proc/sys/kernel/sem").ok()?;
    let limit: u64 = limits.split_whitespace().nth(3)?.parse().ok()?;
    // The first line has titles.
    let used = (fs::read_to_string("/proc/sysvipc/sem").ok()?.lines().count() as u64).saturating_sub(1);
    let text = format!("there are {used} semaphore sets, and the kernel allows {limit} (SEMMNI)");
    let remedy = "remove sets that are not used (ipcs -s, ipcrm), or raise the fourth number of the sysctl kernel.sem";
    match used {
        _ if used >= limit => Some(Finding::problem("limits", text, remedy)),
        _ if used * 10 >= limit * 9 => Some(Finding::warning("limits", text, remedy)),
        _ => None,
    }
}

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lock_core::{
    Allocation, Error, Generation, HeldLock, Label, LockId, Manager, OpenMode, RawLock, Reconciled, Result, StoreId, StoreUrl,
    Waits,
};

use crate::allocating::exclusively;
use crate::inspect;
use crate::layout::GROUP_LOCKS;
use crate::location;
use crate::lock::PodmanLock;
use crate::options::SegmentOptions;
use crate::segment::Segment;
use crate::sys::Mapping;

/// Opens or creates the store of a URL `podman:NAME`, `podman:rootless` or `podman:/path`.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let mut options = url.options();
    let segment_options = SegmentOptions::take(url, &mut options)?;
    let path = location::path(url, &mut options)?;
    options.finish()?;
    Ok(Arc::new(PodmanManager { segment: Arc::new(Segment::open(&path, mode, &segment_options)?) }))
}

/// The locks of podman's segment.
#[derive(Debug)]
struct PodmanManager {
    segment: Arc<Segment>,
}

/// Checks that the label is empty: the segment has no place for one.
fn check_label(label: &Label) -> Result<()> {
    if label.is_empty() { Ok(()) } else { Err(Error::unsupported("podman's segment has no labels; allocate without a label")) }
}

impl PodmanManager {
    fn exhausted(&self) -> Error {
        let locks = u64::from(self.segment.locks());
        Error::exhausted(locks, locks)
    }
}

/// Returns the bit of an id in the bitmap of its group.
fn bit(id: u32) -> u32 {
    1 << (id % GROUP_LOCKS)
}

/// Sets or clears the bit of an id, and returns whether the id was allocated before.
///
/// The caller has the segment mutex.
fn set_allocated(segment: &Mapping, id: u32, is_allocated: bool) -> bool {
    let Some(group) = segment.group(id / GROUP_LOCKS) else { return false };
    let (before, bit) = (group.bitmap.load(Relaxed), bit(id));
    group.bitmap.store(if is_allocated { before | bit } else { before & !bit }, Relaxed);
    before & bit != 0
}

impl Manager for PodmanManager {
    fn id(&self) -> StoreId {
        self.segment.id()
    }

    fn capacity(&self) -> Option<u64> {
        Some(u64::from(self.segment.locks()))
    }

    fn check(&self) -> Result<()> {
        self.segment.check()
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        self.segment.check_range(id)?;
        self.segment.check()?;
        Ok(Arc::new(PodmanLock::new(Arc::clone(&self.segment), id.get())))
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        check_label(label)?;
        exclusively(&self.segment, |segment| {
            let free = segment.groups().zip(0..).find_map(|(group, number): (_, u32)| {
                let lowest = group.bitmap.load(Relaxed).trailing_ones();
                (lowest < GROUP_LOCKS).then(|| number * GROUP_LOCKS + lowest)
            });
            let id = free.ok_or_else(|| self.exhausted())?;
            set_allocated(segment, id, true);
            Ok(LockId::new(id))
        })
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        check_label(label)?;
        self.segment.check_range(id)?;
        exclusively(&self.segment, |segment| match set_allocated(segment, id.get(), true) {
            true => Err(Error::already_allocated()),
            false => Ok(()),
        })
    }

    fn free(&self, id: LockId, _generation: Option<Generation>) -> Result<()> {
        self.segment.check_range(id)?;
        exclusively(&self.segment, |segment| match set_allocated(segment, id.get(), false) {
            true => Ok(()),
            false => Err(Error::not_allocated()),
        })
    }

    fn free_all(&self) -> Result<u64> {
        exclusively(&self.segment, |segment| {
            Ok(segment.groups().map(|group| u64::from(group.bitmap.swap(0, Relaxed).count_ones())).sum())
        })
    }

    fn available(&self) -> Result<Option<u64>> {
        let allocated = inspect::count_allocated(&self.segment)?;
        Ok(Some(u64::from(self.segment.locks()).saturating_sub(allocated)))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        self.allocated_from(LockId::new(0), usize::MAX)
    }

    fn allocated_from(&self, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        Ok(inspect::allocated_from(&self.segment, from.get(), limit)?
            .into_iter()
            .map(|id| Allocation::new(LockId::new(id)))
            .collect())
    }

    fn reconcile(&self, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        for (id, label) in ids {
            self.segment.check_range(*id)?;
            check_label(label)?;
        }
        exclusively(&self.segment, |segment| {
            let mut done = Reconciled::default();
            for id in (0..self.segment.locks()).map(LockId::new) {
                let is_wanted = ids.contains_key(&id);
                match (set_allocated(segment, id.get(), is_wanted), is_wanted) {
                    (false, true) => done.allocated.push(id),
                    (true, false) => done.freed.push(id),
                    _ => {}
                }
            }
            Ok(done)
        })
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        self.held_from(LockId::new(0), usize::MAX)
    }

    fn held_from(&self, from: LockId, limit: usize) -> Result<Vec<HeldLock>> {
        inspect::held_from(&self.segment, from.get(), limit)
    }

    fn waiting(&self) -> Result<Waits> {
        inspect::waiting(&self.segment)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        inspect::details(&self.segment)
    }
}

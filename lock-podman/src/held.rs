//! A record, in private memory, of the mutexes that the calling thread holds.
//!
//! It decides whether the thread already holds a lock, and whether it may release one. The lock word cannot: it has a thread id, and threads
//! of several PID namespaces may have the same one. A forked child starts with an empty record.

use std::cell::{Cell, RefCell};
use std::fs::Metadata;
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::MetadataExt;

use lock_core::{Error, Result};
use lock_table::fork;

use crate::record::Record;

/// Maximum number of mutexes of segments that a thread holds.
///
/// The kernel walks at most 2,048 entries of a robust list (`ROBUST_LIST_LIMIT`). The rest is left to the thread's other robust mutexes.
const LIMIT: usize = 1000;

/// The number of entries that need no allocation.
const INLINE: usize = 4;

/// The device and the inode of a segment's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileKey {
    device: u64,
    inode: u64,
}

impl FileKey {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A mutex of a segment, in all mappings of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) file: FileKey,
    /// The number of the lock, or `None` for the segment mutex.
    pub(crate) lock: Option<u32>,
}

/// A held mutex, with the record of the owner that died before this one, if its death is to be reported to the next owner.
#[derive(Clone, Copy, Debug)]
struct Held {
    key: Key,
    died: Option<Record>,
}

/// The held mutexes of a thread.
struct HeldMutexes {
    few: [Option<Held>; INLINE],
    /// The others. Its memory is freed when it is empty.
    many: ManuallyDrop<Vec<Held>>,
}

impl HeldMutexes {
    const NONE: Self = Self { few: [None; INLINE], many: ManuallyDrop::new(Vec::new()) };

    fn find(&mut self, key: Key) -> Option<&mut Held> {
        self.few.iter_mut().flatten().chain(self.many.iter_mut()).find(|held| held.key == key)
    }
}

// Without destructors, because destructors of other thread-local values may release locks.
thread_local! {
    /// The [fork epoch](fork::epoch) of [`HELD`].
    static EPOCH: Cell<u64> = const { Cell::new(u64::MAX) };
    static HELD: RefCell<HeldMutexes> = const { RefCell::new(HeldMutexes::NONE) };
}

fn with<T>(act: impl FnOnce(&mut HeldMutexes) -> T) -> T {
    HELD.with_borrow_mut(|held| {
        if EPOCH.get() != fork::epoch() {
            EPOCH.set(fork::current());
            // The memory of the parent's record leaks: another thread may have held the allocator's lock at the fork.
            *held = HeldMutexes::NONE;
        }
        act(held)
    })
}

/// Checks that the calling thread may hold one more mutex.
///
/// # Errors
/// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit).
#[inline]
pub(crate) fn check_room() -> Result<()> {
    if with(|held| held.many.len() < LIMIT - INLINE) { Ok(()) } else { Err(full()) }
}

#[cold]
fn full() -> Error {
    let limit = format!(
        "this thread holds {LIMIT} locks of podman's segments, and the kernel recovers at most 2,048 robust mutexes after its death; release some"
    );
    Error::limit(limit, io::Error::from(io::ErrorKind::QuotaExceeded))
}

/// Returns whether the calling thread holds the mutex.
pub(crate) fn contains(key: Key) -> bool {
    with(|held| held.find(key).is_some())
}

/// Adds a mutex that the calling thread has acquired. `died` is the dead owner whose death is to be reported again.
#[inline]
pub(crate) fn add(key: Key, died: Option<Record>) {
    let new = Held { key, died };
    with(|held| match held.few.iter_mut().find(|place| place.is_none()) {
        Some(place) => *place = Some(new),
        None => held.many.push(new),
    });
}

/// Removes a mutex, and returns the dead owner of [`add`]. Returns `None` if the calling thread does not hold it.
#[inline]
pub(crate) fn remove(key: Key) -> Option<Option<Record>> {
    with(|held| {
        if let Some(place) = held.few.iter_mut().find(|place| place.is_some_and(|held| held.key == key)) {
            return place.take().map(|held| held.died);
        }
        let at = held.many.iter().rposition(|held| held.key == key)?;
        let removed = held.many.swap_remove(at);
        if held.many.is_empty() {
            drop(ManuallyDrop::into_inner(std::mem::replace(&mut held.many, ManuallyDrop::new(Vec::new()))));
        }
        Some(removed.died)
    })
}

/// Forgets the dead owner of a mutex. Returns false if the calling thread does not hold it.
pub(crate) fn forget_death(key: Key) -> bool {
    with(|held| held.find(key).map(|held| held.died = None).is_some())
}

#[cfg(test)]
mod tests {
    use lock_core::ErrorKind;

    use super::*;

    fn key(lock: u32) -> Key {
        Key { file: FileKey { device: 1, inode: 2 }, lock: Some(lock) }
    }

    #[test]
    fn each_mutex_is_removed_once_in_any_order() {
        (0..12).for_each(|lock| add(key(lock), None));
        for lock in [3, 0, 11, 4, 5, 1, 2, 10, 6, 7, 9, 8] {
            assert!(contains(key(lock)));
            assert_eq!(remove(key(lock)), Some(None));
            assert_eq!(remove(key(lock)), None);
        }
        assert!(HELD.with_borrow(|held| held.many.capacity() == 0));
    }

    #[test]
    fn a_death_is_remembered_until_it_is_forgotten() {
        let died = Record::from_fields(7, 1, 0);
        add(key(0), Some(died));
        assert_eq!(remove(key(0)), Some(Some(died)));
        add(key(0), Some(died));
        assert!(forget_death(key(0)) && !forget_death(key(1)));
        assert_eq!(remove(key(0)), Some(None));
    }

    #[test]
    fn a_thread_holds_at_most_1000_mutexes() {
        for lock in 0..LIMIT as u32 {
            check_room().unwrap();
            add(key(lock), None);
        }
        assert_eq!(check_room().unwrap_err().kind(), ErrorKind::Limit);
        (0..LIMIT as u32).for_each(|lock| _ = remove(key(lock)));
        check_room().unwrap();
    }
}

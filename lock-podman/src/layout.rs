//! The layout of podman's segment, which is that of the C structures in its `libpod/lock/shm`.
//!
//! | offset on x86-64 | field |
//! |---|---|
//! | 0 | `u16`: the magic number 0x87d1 |
//! | 8 | the segment mutex |
//! | 48, 52 | `u32`: the number of groups, the number of locks |
//! | 56 + 1288·g | group g: a `u32` with a bit for each allocated id, and the mutexes of 32 locks |

use std::mem::offset_of;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicUsize};

/// The magic number of a segment.
pub(crate) const MAGIC: u16 = 0x87d1;

/// The number of locks in a group, which is the number of bits of its bitmap.
pub(crate) const GROUP_LOCKS: u32 = u32::BITS;

/// The number of locks that podman creates by default (`num_locks` in containers.conf).
pub(crate) const DEFAULT_LOCKS: u32 = 2048;

/// The greatest number of locks: ids and the number of locks have 32 bits.
pub(crate) const MOST_LOCKS: u32 = u32::MAX - (GROUP_LOCKS - 1);

/// A mutex of libc, as glibc lays it out on 64-bit machines (`struct __pthread_mutex_s`).
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Mutex {
    /// `__lock`: the owner's thread id and the bits of the kernel, `FUTEX_WAITERS` and `FUTEX_OWNER_DIED`.
    pub(crate) word: AtomicU32,
    /// `__count`: see [`Record`](crate::record::Record).
    pub(crate) count: AtomicU32,
    /// `__owner`: the owner's thread id, once it has the lock; [`INCONSISTENT`] or [`NOT_RECOVERABLE`] after a death.
    pub(crate) owner: AtomicU32,
    /// `__nusers`: the number of threads that use the mutex, which glibc reads only in `pthread_mutex_destroy`.
    pub(crate) users: AtomicU32,
    /// `__kind`: the type and the attributes.
    pub(crate) kind: AtomicU32,
    /// `__spins` and `__elision`, which glibc does not access in a robust mutex: see [`Record`](crate::record::Record).
    pub(crate) spare: AtomicU32,
    /// `__list.__prev`: the address of the previous entry of the owner's robust list.
    pub(crate) prev: AtomicUsize,
    /// `__list.__next`: the address of the next entry. The address of this field is that of the entry.
    pub(crate) next: AtomicUsize,
    rest: [u8; size_of::<libc::pthread_mutex_t>() - MUTEX_FIELDS],
}

/// The size of the fields of a [`Mutex`].
const MUTEX_FIELDS: usize = 40;

const _: () = assert!(size_of::<Mutex>() == size_of::<libc::pthread_mutex_t>() && align_of::<Mutex>() == 8);

/// The owner of a mutex that a libc owner has acquired after a death, until it marks the mutex consistent.
pub(crate) const INCONSISTENT: u32 = i32::MAX as u32;

/// The owner of a mutex that a libc owner has released without marking it consistent. No thread can acquire it.
pub(crate) const NOT_RECOVERABLE: u32 = i32::MAX as u32 - 1;

/// The kind of a robust, process-shared mutex, as podman 4 creates it.
pub(crate) const KIND: u32 = 0x90;

/// The same kind with an explicit normal type (`PTHREAD_MUTEX_NORMAL`), as later versions create it.
pub(crate) const KIND_NORMAL: u32 = 0x290;

/// The first word of a mutex of musl: its type. musl has the lock word at offset 4.
pub(crate) const KIND_MUSL: u32 = 0x84;

/// The beginning of the segment.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Header {
    magic: AtomicU16,
    unused: AtomicU16,
    /// The mutex under which the bitmaps change.
    pub(crate) mutex: Mutex,
    groups: AtomicU32,
    locks: AtomicU32,
}

/// The bitmap and the mutexes of 32 locks.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Group {
    /// A bit for each allocated id.
    pub(crate) bitmap: AtomicU32,
    /// The mutexes.
    pub(crate) mutexes: [Mutex; GROUP_LOCKS as usize],
}

/// The length of the header.
pub(crate) const HEADER: usize = size_of::<Header>();
/// The length of a group.
pub(crate) const GROUP: usize = size_of::<Group>();
/// The offset of the number of groups.
pub(crate) const GROUPS_AT: usize = offset_of!(Header, groups);
/// The offset of the number of locks.
pub(crate) const LOCKS_AT: usize = offset_of!(Header, locks);
/// The offset of the segment mutex.
pub(crate) const MUTEX_AT: usize = offset_of!(Header, mutex);
/// The offset of the first mutex in a group.
pub(crate) const GROUP_MUTEXES_AT: usize = offset_of!(Group, mutexes);

/// Returns the length of a segment with this number of groups.
pub(crate) const fn length(groups: u32) -> u64 {
    HEADER as u64 + GROUP as u64 * groups as u64
}

/// Returns the offset of a group.
pub(crate) const fn group_at(group: u32) -> u64 {
    length(group)
}

/// Returns the offset of the mutex of a lock.
pub(crate) const fn mutex_at(lock: u32) -> u64 {
    group_at(lock / GROUP_LOCKS) + (GROUP_MUTEXES_AT + size_of::<Mutex>() * (lock % GROUP_LOCKS) as usize) as u64
}

/// Returns the lock whose word is at this offset.
pub(crate) fn lock_at(offset: u64, locks: u32) -> Option<u32> {
    let within = offset.checked_sub(HEADER as u64)?;
    let in_group = (within % GROUP as u64).checked_sub(GROUP_MUTEXES_AT as u64)?;
    let lock = within / GROUP as u64 * u64::from(GROUP_LOCKS) + in_group / size_of::<Mutex>() as u64;
    let is_word = in_group % size_of::<Mutex>() as u64 == 0 && lock < u64::from(locks);
    is_word.then_some(lock as u32)
}

/// Rounds a number of locks up to whole groups, as podman does.
pub(crate) const fn rounded(locks: u32) -> u32 {
    locks.next_multiple_of(GROUP_LOCKS)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    fn offsets_are_those_of_podman() {
        assert_eq!((HEADER, GROUP, MUTEX_AT, GROUPS_AT, LOCKS_AT, GROUP_MUTEXES_AT), (56, 1288, 8, 48, 52, 8));
        assert_eq!((offset_of!(Mutex, kind), offset_of!(Mutex, prev), offset_of!(Mutex, next)), (16, 24, 32));
        assert_eq!(length(DEFAULT_LOCKS / GROUP_LOCKS), 82_488);
        assert_eq!((mutex_at(0), mutex_at(31), mutex_at(32)), (64, 1304, 1352));
    }

    #[test]
    fn lock_at_inverts_mutex_at() {
        for lock in 0..96 {
            assert_eq!(lock_at(mutex_at(lock), 96), Some(lock));
            assert_eq!(lock_at(mutex_at(lock) + 4, 96), None);
        }
        assert_eq!(lock_at(mutex_at(96), 96), None);
        for outside in [0, MUTEX_AT as u64, group_at(0), group_at(1)] {
            assert_eq!(lock_at(outside, 96), None);
        }
    }

    #[rstest]
    #[case(1, 32)]
    #[case(7, 32)]
    #[case(32, 32)]
    #[case(33, 64)]
    #[case(2048, 2048)]
    #[case(MOST_LOCKS, MOST_LOCKS)]
    fn numbers_are_rounded_up_to_groups(#[case] asked: u32, #[case] rounded_up: u32) {
        assert_eq!(rounded(asked), rounded_up);
    }
}

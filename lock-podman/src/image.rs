//! The bytes of a segment's file: a new segment, and the checks of an existing one before it is mapped.

use std::mem::offset_of;

use lock_core::{Error, Result};

use crate::layout::{
    GROUP, GROUP_LOCKS, GROUP_MUTEXES_AT, GROUPS_AT, HEADER, KIND, KIND_MUSL, KIND_NORMAL, LOCKS_AT, MAGIC, MUTEX_AT, Mutex,
    length,
};

/// What to do with a segment that podman cannot use either.
const MAKE_AGAIN: &str =
    "podman makes it again; then run `podman system renumber` before any other podman command, or objects share locks";

/// Returns the bytes of a new segment with this number of locks, a multiple of 32. No id is allocated and no mutex is locked.
pub(crate) fn new(locks: u32) -> Vec<u8> {
    let groups = locks / GROUP_LOCKS;
    let mut bytes = vec![0; length(groups) as usize];
    bytes[..2].copy_from_slice(&MAGIC.to_ne_bytes());
    put(&mut bytes, GROUPS_AT, groups);
    put(&mut bytes, LOCKS_AT, locks);
    for mutex in mutexes(groups) {
        put(&mut bytes, mutex + offset_of!(Mutex, kind), KIND_NORMAL);
    }
    bytes
}

/// Checks the bytes of a segment, and returns its number of locks.
///
/// # Errors
/// [`ErrorKind::NotAStore`](lock_core::ErrorKind::NotAStore) when the magic number is wrong;
/// [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when the segment is incomplete or damaged;
/// [`ErrorKind::OtherAbi`](lock_core::ErrorKind::OtherAbi) when another C library has created it.
pub(crate) fn check(bytes: &[u8]) -> Result<u32> {
    let locks = check_header(bytes, bytes.len() as u64)?;
    let groups = locks / GROUP_LOCKS;
    for mutex in mutexes(groups) {
        match word(bytes, mutex + offset_of!(Mutex, kind)) {
            KIND | KIND_NORMAL => {}
            _ if word(bytes, mutex) == KIND_MUSL => {
                return Err(Error::other_abi("podman with the C library musl", "podman with the C library glibc"));
            }
            0 => return Err(half_built("it has mutexes that are not initialized")),
            kind => return Err(Error::corrupt(format!("the mutex at offset {mutex} has the unknown kind {kind:#x}"))),
        }
    }
    Ok(locks)
}

/// Checks the header of a segment in a file of this length, and returns its number of locks.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_header(bytes: &[u8], found: u64) -> Result<u32> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(half_built("it is empty"));
    }
    let (Some(start), Some(header)) = (bytes.get(..2), bytes.get(..HEADER)) else {
        return Err(Error::corrupt(format!("the file has {found} bytes instead of at least {HEADER}")));
    };
    let magic = u16::from_ne_bytes([start[0], start[1]]);
    if magic != MAGIC {
        return Err(Error::not_a_store(format!("it does not begin with podman's magic number {MAGIC:#x}, but with {magic:#x}")));
    }
    let (groups, locks) = (word(header, GROUPS_AT), word(header, LOCKS_AT));
    if groups == 0 {
        return Err(half_built("it has no locks yet"));
    }
    if u64::from(groups) * u64::from(GROUP_LOCKS) != u64::from(locks) {
        return Err(Error::corrupt(format!("it has {groups} groups of {GROUP_LOCKS} locks, but the number of locks is {locks}")));
    }
    let expected = length(groups);
    if found != expected {
        return Err(Error::corrupt(format!("the file has {found} bytes, but {locks} locks have {expected} bytes")));
    }
    Ok(locks)
}

/// Returns the word at this offset.
pub(crate) fn word(bytes: &[u8], offset: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_ne_bytes(word)
}

fn put(bytes: &mut [u8], offset: usize, word: u32) {
    bytes[offset..offset + 4].copy_from_slice(&word.to_ne_bytes());
}

/// Returns the offsets of all mutexes.
fn mutexes(groups: u32) -> impl Iterator<Item = usize> {
    let of_group = |group: usize| {
        (0..GROUP_LOCKS as usize).map(move |lock| HEADER + GROUP * group + GROUP_MUTEXES_AT + size_of::<Mutex>() * lock)
    };
    std::iter::once(MUTEX_AT).chain((0..groups as usize).flat_map(of_group))
}

/// The error for a segment whose creator was killed.
fn half_built(reason: &str) -> Error {
    Error::corrupt(format!("{reason}: a podman process was killed while it created the segment")).advise(MAKE_AGAIN)
}

#[cfg(test)]
mod tests {
    use lock_core::ErrorKind;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::empty(|bytes: &mut Vec<u8>| bytes.clear(), ErrorKind::Corrupt, "killed while it created")]
    #[case::zeros(|bytes: &mut Vec<u8>| bytes.fill(0), ErrorKind::Corrupt, "killed while it created")]
    #[case::magic_only(|bytes: &mut Vec<u8>| bytes[2..].fill(0), ErrorKind::Corrupt, "killed while it created")]
    #[case::no_mutexes(|bytes: &mut Vec<u8>| bytes[HEADER..].fill(0), ErrorKind::Corrupt, "killed while it created")]
    #[case::other_magic(|bytes: &mut Vec<u8>| bytes[0] = 0x7f, ErrorKind::NotAStore, "0x87d1")]
    #[case::short_header(|bytes: &mut Vec<u8>| bytes.truncate(20), ErrorKind::Corrupt, "20 bytes")]
    #[case::cut(|bytes: &mut Vec<u8>| bytes.truncate(HEADER + GROUP), ErrorKind::Corrupt, "64 locks have")]
    #[case::long(|bytes: &mut Vec<u8>| bytes.push(0), ErrorKind::Corrupt, "64 locks have")]
    #[case::number(|bytes: &mut Vec<u8>| put(bytes, LOCKS_AT, 63), ErrorKind::Corrupt, "63")]
    #[case::musl(|bytes: &mut Vec<u8>| { put(bytes, MUTEX_AT, KIND_MUSL); put(bytes, MUTEX_AT + 16, 0) }, ErrorKind::OtherAbi, "musl")]
    #[case::kind(|bytes: &mut Vec<u8>| put(bytes, MUTEX_AT + 16, 0x91), ErrorKind::Corrupt, "0x91")]
    #[case::last_kind(|bytes: &mut Vec<u8>| { let at = bytes.len() - size_of::<Mutex>() + offset_of!(Mutex, kind); put(bytes, at, 3) }, ErrorKind::Corrupt, "0x3")]
    fn damage_is_refused_with_its_reason(#[case] damage: fn(&mut Vec<u8>), #[case] kind: ErrorKind, #[case] words: &str) {
        let mut bytes = new(64);
        damage(&mut bytes);
        let error = check(&bytes).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn a_new_segment_is_valid_with_either_kind() {
        let mut bytes = new(96);
        assert_eq!(check(&bytes).unwrap(), 96);
        for mutex in mutexes(3) {
            put(&mut bytes, mutex + offset_of!(Mutex, kind), KIND);
        }
        assert_eq!(check(&bytes).unwrap(), 96);
    }
}

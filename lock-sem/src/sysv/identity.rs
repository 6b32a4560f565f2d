//! The key and the identity of a semaphore set.
//!
//! A process finds a set by its key, and verifies by the identity which store the set belongs to.
//!
//! The key of a set is a hash of the seal, the store's id, the number of the run of ids, and the number of the attempt. There are
//! several attempts, because another program may use a key. A key alone proves nothing. So a set contains, after the semaphores
//! of the locks, further semaphores whose values are the identity: the store and the run of the set. One operation writes all of
//! them, and it succeeds only on a set without an identity. If two stores find the same key, one of them gets the set.
//!
//! The last of these semaphores is the *seal*. A [`Semaphore`](super::semaphore::Semaphore) compares it with every change of the
//! set. The seal depends on the inode of the table's file, so a copy of a store has another seal.

use lock_core::StoreId;

use crate::sys;
use lock_table::hash::{fnv1a, fnv1a_32};

/// The first byte of the keys of all sets of this crate. `ipcs -s | grep 0x4c` lists them.
pub(crate) const KEY_PREFIX: u32 = 0x4c00_0000;
pub(crate) const KEY_MASK: u32 = 0xff00_0000;

/// Number of keys to try.
pub(crate) const ATTEMPTS: u32 = 8;

/// Number of semaphores that contain the identity.
pub(crate) const LEN: u16 = 13;

/// The index of the seal among them.
const SEAL: u16 = LEN - 1;

/// The first value. It is not 0, which distinguishes a set with an identity from a new one.
const MARK: u16 = 0x4c4b;
/// Number of bits in each further value. The largest value of a semaphore is 32,767.
const BITS: u32 = 15;
/// Number of values for the store's id, 135 bits. The two values for the run have 30 bits.
const STORE_VALUES: usize = 9;

/// The identity of a set: its store and its run of ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) store: StoreId,
    pub(crate) run: u32,
    pub(crate) seal: u16,
}

impl Identity {
    /// Returns the identity of the set for a run of a store.
    ///
    /// `device` and `inode` are those of the store's file.
    pub(crate) fn new(store: StoreId, (device, inode): (u64, u64), run: u32) -> Self {
        let words = [device, inode, run.into()].into_iter().flat_map(u64::to_le_bytes);
        let hash = fnv1a(store.get().to_le_bytes().into_iter().chain(words));
        // A large value, which semaphores of other programs rarely have.
        Self { store, run, seal: 0x4000 | ((hash >> 32) as u16 & 0x3fff) }
    }

    /// Returns the key for an attempt, which is below [`ATTEMPTS`].
    pub(crate) fn key(self, attempt: u32) -> i32 {
        let bytes = self.store.get().to_le_bytes().into_iter().chain(self.run.to_le_bytes());
        let bytes = bytes.chain(self.seal.to_le_bytes()).chain(attempt.to_le_bytes());
        (KEY_PREFIX | fnv1a_32(bytes) & !KEY_MASK) as i32
    }

    fn values(self) -> [u16; LEN as usize] {
        let mut values = [MARK; LEN as usize];
        for (at, value) in values[1..usize::from(SEAL)].iter_mut().enumerate() {
            let bits = if at < STORE_VALUES {
                (self.store.get() >> (BITS * at as u32)) as u16
            } else {
                (self.run >> (BITS * (at - STORE_VALUES) as u32)) as u16
            };
            *value = bits & ((1 << BITS) - 1);
        }
        values[usize::from(SEAL)] = self.seal;
        values
    }

    /// Reads the identity from the values of a set.
    ///
    /// Returns `None` for a new set or a set of another program.
    pub(crate) fn read(values: [u16; LEN as usize]) -> Option<Self> {
        let join = |values: &[u16]| {
            values.iter().enumerate().fold(0_u128, |all, (at, value)| all | (u128::from(*value) << (BITS * at as u32)))
        };
        let [store, run] = [&values[1..=STORE_VALUES], &values[STORE_VALUES + 1..usize::from(SEAL)]].map(join);
        let identity = Self { store: StoreId::new(store), run: run as u32, seal: values[usize::from(SEAL)] };
        (identity.values() == values).then_some(identity)
    }

    /// Returns the operation that writes the identity into a new set with this number of locks.
    pub(crate) fn steps(self, locks: u16) -> Vec<libc::sembuf> {
        let wait_for_zero = sys::step(locks, 0, libc::IPC_NOWAIT);
        let values = self.values();
        let steps = values.iter().zip(locks..).map(|(value, at)| sys::step(at, *value as i16, libc::IPC_NOWAIT));
        [wait_for_zero].into_iter().chain(steps).collect()
    }
}

/// Returns the number of the seal's semaphore in a set with this number of locks.
pub(crate) const fn seal_of(locks: u16) -> u16 {
    locks + SEAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        for (store, run) in [(0, 0), (u128::MAX, (1 << 22) - 1), (0x1234_5678_9abc_def0_0fed_cba9_8765_4321, 77)] {
            let identity = Identity::new(StoreId::new(store), (1, 2), run);
            assert!(identity.values().iter().all(|value| *value < 1 << 15), "the value is too large for a semaphore");
            assert_eq!(Identity::read(identity.values()), Some(identity));
        }
        assert_eq!(Identity::read([0; LEN as usize]), None);
        assert_eq!(Identity::read([MARK + 1; LEN as usize]), None);
    }

    #[test]
    fn keys_differ_and_have_the_prefix() {
        let keys: std::collections::BTreeSet<_> = (0..100)
            .flat_map(|run| (0..ATTEMPTS).map(move |attempt| Identity::new(StoreId::new(42), (1, 2), run).key(attempt)))
            .collect();
        assert!(keys.iter().all(|key| *key as u32 & KEY_MASK == KEY_PREFIX));
        assert!(keys.len() > 795, "only {} of 800 keys differ", keys.len());
    }

    #[test]
    fn a_copy_of_a_store_has_different_seals_and_keys() {
        let [original, copy] = [1, 2].map(|inode| Identity::new(StoreId::new(42), (7, inode), 3));
        assert_ne!(original.seal, copy.seal);
        assert!((0..ATTEMPTS).all(|attempt| original.key(attempt) != copy.key(attempt)));
    }
}

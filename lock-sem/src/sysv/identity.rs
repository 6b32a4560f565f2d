//! How a set is found, and how one knows whose it is.
//!
//! A set has a key that follows from its seal, the store's identity, the number of the run of ids, and an attempt, of which there
//! are a few should another program use a key. A key alone proves nothing. So a set has, behind the semaphores of the locks, a
//! few that are no locks and whose values say which store and run it is for. They are written in one step that succeeds on a set
//! that says nothing yet and on no other: of two stores that find one key, one gets the set.
//!
//! The last of them is the *seal*, which a [`Semaphore`](super::semaphore::Semaphore) compares whenever it changes the set. It
//! depends on the table's file, which a copy of a store does not share.

use lock_core::StoreId;

use crate::hash::{fnv, fnv32};
use crate::sys;

/// What the keys of all sets of this crate begin with, so that people find them: `ipcs -s | grep 0x4c`.
pub(crate) const KEY: u32 = 0x4c00_0000;
pub(crate) const KEY_MASK: u32 = 0xff00_0000;

/// How many keys are tried.
pub(crate) const ATTEMPTS: u32 = 8;

/// Semaphores that are no locks.
pub(crate) const LEN: u16 = 13;

/// Which of them is the seal.
const SEAL: u16 = LEN - 1;

/// The first value. It is not 0, so that a set that says nothing is told from all others.
const MARK: u16 = 0x4c4b;
/// Bits in each further value: a semaphore counts to 32,767.
const BITS: u32 = 15;
/// Values for the store: 135 bits. Those for the run have 30.
const STORE: usize = 9;

/// The store and the run of ids that a set is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) store: StoreId,
    pub(crate) run: u32,
    pub(crate) seal: u16,
}

impl Identity {
    /// The identity of the set for this run of a store, whose file has this device and inode.
    pub(crate) fn new(store: StoreId, (device, inode): (u64, u64), run: u32) -> Self {
        let words = [device, inode, run.into()].into_iter().flat_map(u64::to_le_bytes);
        let hash = fnv(store.get().to_le_bytes().into_iter().chain(words));
        // A large number, as other programs' semaphores seldom have.
        Self { store, run, seal: 0x4000 | ((hash >> 32) as u16 & 0x3fff) }
    }

    /// The key to try.
    pub(crate) fn key(self, attempt: u32) -> i32 {
        let bytes = self.store.get().to_le_bytes().into_iter().chain(self.run.to_le_bytes());
        let bytes = bytes.chain(self.seal.to_le_bytes()).chain(attempt.to_le_bytes());
        (KEY | fnv32(bytes) & !KEY_MASK) as i32
    }

    fn values(self) -> [u16; LEN as usize] {
        let mut values = [MARK; LEN as usize];
        for (at, value) in values[1..usize::from(SEAL)].iter_mut().enumerate() {
            let bits = if at < STORE {
                (self.store.get() >> (BITS * at as u32)) as u16
            } else {
                (self.run >> (BITS * (at - STORE) as u32)) as u16
            };
            *value = bits & ((1 << BITS) - 1);
        }
        values[usize::from(SEAL)] = self.seal;
        values
    }

    /// What the values say; `None` when they say nothing, or nothing of this kind.
    pub(crate) fn read(values: [u16; LEN as usize]) -> Option<Self> {
        let join = |values: &[u16]| {
            values.iter().enumerate().fold(0_u128, |all, (at, value)| all | (u128::from(*value) << (BITS * at as u32)))
        };
        let [store, run] = [&values[1..=STORE], &values[STORE + 1..usize::from(SEAL)]].map(join);
        let identity = Self { store: StoreId::new(store), run: run as u32, seal: values[usize::from(SEAL)] };
        (identity.values() == values).then_some(identity)
    }

    /// The operation that writes it into a set that has so many locks and says nothing yet.
    pub(crate) fn steps(self, locks: u16) -> Vec<libc::sembuf> {
        let wait_for_zero = sys::step(locks, 0, libc::IPC_NOWAIT);
        let values = self.values();
        let steps = values.iter().zip(locks..).map(|(value, at)| sys::step(at, *value as i16, libc::IPC_NOWAIT));
        [wait_for_zero].into_iter().chain(steps).collect()
    }
}

/// The number of the seal's semaphore in a set that has so many locks.
pub(crate) const fn seal_of(locks: u16) -> u16 {
    locks + SEAL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (store, run) in [(0, 0), (u128::MAX, (1 << 22) - 1), (0x1234_5678_9abc_def0_0fed_cba9_8765_4321, 77)] {
            let identity = Identity::new(StoreId::new(store), (1, 2), run);
            assert!(identity.values().iter().all(|value| *value < 1 << 15), "a semaphore cannot count to that");
            assert_eq!(Identity::read(identity.values()), Some(identity));
        }
        assert_eq!(Identity::read([0; LEN as usize]), None);
        assert_eq!(Identity::read([MARK + 1; LEN as usize]), None);
    }

    #[test]
    fn keys_differ_and_are_recognised() {
        let keys: std::collections::BTreeSet<_> = (0..100)
            .flat_map(|run| (0..ATTEMPTS).map(move |attempt| Identity::new(StoreId::new(42), (1, 2), run).key(attempt)))
            .collect();
        assert!(keys.iter().all(|key| *key as u32 & KEY_MASK == KEY));
        assert!(keys.len() > 795, "of 800 keys in 2^24, {} differ", keys.len());
    }

    #[test]
    fn a_copy_of_a_store_has_other_seals_and_keys() {
        let [original, copy] = [1, 2].map(|inode| Identity::new(StoreId::new(42), (7, inode), 3));
        assert_ne!(original.seal, copy.seal);
        assert!((0..ATTEMPTS).all(|attempt| original.key(attempt) != copy.key(attempt)));
    }
}

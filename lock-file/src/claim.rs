//! The claim on the descriptor of a handle.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;

use lock_table::fork;

/// Number of times to yield to an attempt of another thread before the lock counts as busy.
///
/// An attempt does not block.
const YIELDS: u32 = 100;

/// The bits of the word that contain the purpose. The fork epoch is above them.
const PURPOSE: u64 = 3;
const EPOCH_SHIFT: u32 = 2;

/// What a thread has claimed the descriptor for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// An attempt, which does not wait.
    Attempt = 1,
    /// A blocking call in the kernel.
    Wait = 2,
    /// The lock is held.
    Hold = 3,
}

/// Excludes the threads of one process from the descriptor of a handle.
///
/// The word contains the fork epoch, so a claim that a forked child inherits from its parent counts as free.
#[derive(Debug, Default)]
pub(crate) struct Claim(AtomicU64);

impl Claim {
    /// Claims the descriptor for the calling thread.
    ///
    /// Returns false when another thread waits or holds the lock.
    #[inline]
    pub(crate) fn try_take(&self, purpose: Purpose) -> bool {
        let epoch = epoch();
        self.0.compare_exchange(epoch, epoch | purpose as u64, SeqCst, Relaxed).is_ok() || self.try_take_slowly(epoch, purpose)
    }

    #[cold]
    fn try_take_slowly(&self, epoch: u64, purpose: Purpose) -> bool {
        for _ in 0..YIELDS {
            let present = self.0.load(SeqCst);
            let free = is_free(present, epoch);
            if free && self.0.compare_exchange(present, epoch | purpose as u64, SeqCst, Relaxed).is_ok() {
                return true;
            }
            if !free && present & PURPOSE != Purpose::Attempt as u64 {
                return false;
            }
            thread::yield_now();
        }
        false
    }

    /// Claims the descriptor for an attempt, unless another thread has it at this moment.
    pub(crate) fn try_take_idle(&self) -> bool {
        let (epoch, present) = (epoch(), self.0.load(SeqCst));
        let claimed = epoch | Purpose::Attempt as u64;
        is_free(present, epoch) && self.0.compare_exchange(present, claimed, SeqCst, Relaxed).is_ok()
    }

    /// Changes the purpose. Only the claimant may call this. If the process owns the lock, any of its threads is the claimant.
    #[inline]
    pub(crate) fn set(&self, purpose: Purpose) {
        self.0.store(epoch() | purpose as u64, SeqCst);
    }

    /// Ends the claim. Only the claimant may call this, as [`set`](Self::set).
    #[inline]
    pub(crate) fn release(&self) {
        self.0.store(epoch(), SeqCst);
    }

    /// Checks whether a thread of this process holds the lock.
    pub(crate) fn is_held(&mut self) -> bool {
        *self.0.get_mut() == epoch() | Purpose::Hold as u64
    }
}

/// Returns the word of a free claim in this process.
#[inline]
fn epoch() -> u64 {
    fork::epoch() << EPOCH_SHIFT
}

fn is_free(word: u64, epoch: u64) -> bool {
    word & !PURPOSE != epoch || word & PURPOSE == 0
}

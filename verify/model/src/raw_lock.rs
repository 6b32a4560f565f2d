//! Stand-in for lock-core's `RawLock`, whose `Acquired` and `Proof` are stand-ins as well.

use real_core::{FastAttempt, Generation, HeldBy, Holder, OwnerKind, Result};

use crate::Deadline;
use crate::death::{Acquired, Proof};

/// The trait that a backend's lock implements.
#[allow(dead_code, reason = "not every check calls all of it")]
pub(crate) trait RawLock {
    fn try_acquire_fast(&self) -> Option<u64>;
    fn try_acquire_now(&self) -> FastAttempt;
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;
    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired>;
    fn acquire_in_slices(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired>;
    fn release(&self, proof: Proof) -> Result<()>;
    fn check(&self, owner: OwnerKind, token: Option<u64>) -> Result<()>;
    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()>;
    fn holder(&self) -> Result<Option<Holder>>;
    fn held_by(&self) -> HeldBy;
    fn waiters(&self) -> Option<u32>;
    fn generation(&self) -> Option<Generation>;
}

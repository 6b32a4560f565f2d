//! The environment of the checked code.
//!
//! Each operation on an atomic is an operation of the calling simulated thread on the word with that address. The values of the words
//! are in the state; the atomics themselves hold none.

use std::sync::atomic::{Ordering, compiler_fence};

use crate::bounds::OBSERVER;
use crate::op::{Change, Op};
use crate::{state, step};

/// Number of times to poll a held lock before sleeping.
pub(crate) const SPINS: u32 = 1;

/// Number of acquisitions after which an owner without waiters returns to releases by plain store.
pub(crate) const PLAIN_STORES_AFTER: u64 = 1024;

/// Drains the thread's store buffer if the fence is sequentially consistent. Total store order implies the weaker fences.
pub(crate) fn fence(order: Ordering) {
    if order == Ordering::SeqCst {
        step::call(Op::Fence);
    }
}

/// Compiler fence. Total store order and the barrier of another thread do the rest.
pub(crate) fn light_fence() {
    compiler_fence(Ordering::SeqCst);
}

/// Returns the word at the address in a link. It must be in the simulated memory.
pub(crate) fn link_target(address: usize) -> *const AtomicUsize {
    let _ = state::at(address);
    address as *const AtomicUsize
}

/// Marks a point from which the calling thread's run depends only on these variables.
pub(crate) fn round_depends_on(spins: u32, waiters: u32) {
    step::call(Op::Loop(u64::from(spins) << 32 | u64::from(waiters)));
}

/// Starts a wait of the calling thread.
pub(crate) fn begin_wait() {
    state::with(|state| {
        // The observer has no state.
        if let Some(thread) = state.threads.get_mut(state.current) {
            thread.has_overslept = false;
        }
    });
}

/// Returns whether the calling thread is starved: by the scenario, or because a sleep of its wait has reached its time limit.
pub(crate) fn is_starved() -> bool {
    state::with(|state| {
        let has_overslept = state.threads.get(state.current).is_some_and(|thread| thread.has_overslept);
        has_overslept || state.machine.scenario.starves(state.current)
    })
}

/// Returns a constant time.
pub(crate) fn reservation() -> u64 {
    1
}

/// Returns whether the thread treats a reservation as ended, or as none, which has the start 0. Some threads always do, and others never.
///
/// The observer never does if no thread has died, because then no reservation may be left.
pub(crate) fn has_ended(start: u64) -> bool {
    start == 0 || state::with(|state| if state.current == OBSERVER { state.oracle.deaths > 0 } else { state.current % 2 == 1 })
}

/// Returns a constant time.
pub(crate) fn unix_time() -> u64 {
    1
}

/// Returns a different id for each simulated thread.
pub(crate) fn process_id() -> u32 {
    state::with(|state| state.current as u32 + 1)
}

macro_rules! atomic {
    ($Name:ident, $Value:ident, $Std:ident) => {
        /// A word of the simulated memory.
        #[repr(transparent)]
        #[derive(Debug, Default)]
        pub(crate) struct $Name(std::sync::atomic::$Std);

        #[allow(dead_code, reason = "not every width is used for everything")]
        impl $Name {
            fn at(&self) -> usize {
                state::at(std::ptr::from_ref(self).addr())
            }

            fn change(&self, change: Change) -> $Value {
                step::call(Op::Change(self.at(), change)) as $Value
            }

            pub(crate) fn load(&self, _: Ordering) -> $Value {
                step::call(Op::Load(self.at())) as $Value
            }

            pub(crate) fn store(&self, value: $Value, order: Ordering) {
                if order == Ordering::SeqCst {
                    self.change(Change::Set(value as u64));
                } else {
                    step::call(Op::Store(self.at(), value as u64));
                }
            }

            pub(crate) fn swap(&self, value: $Value, _: Ordering) -> $Value {
                self.change(Change::Set(value as u64))
            }

            pub(crate) fn fetch_add(&self, value: $Value, order: Ordering) -> $Value {
                let added = self.fetch_update(order, order, |present| Some(present.wrapping_add(value)));
                added.expect("the change is always possible")
            }

            pub(crate) fn fetch_or(&self, value: $Value, _: Ordering) -> $Value {
                self.change(Change::Or(value as u64))
            }

            pub(crate) fn fetch_and(&self, value: $Value, _: Ordering) -> $Value {
                self.change(Change::And(value as u64))
            }

            pub(crate) fn compare_exchange(&self, old: $Value, new: $Value, _: Ordering, _: Ordering) -> Result<$Value, $Value> {
                let found = self.change(Change::Exchange(old as u64, new as u64));
                if found == old { Ok(found) } else { Err(found) }
            }

            pub(crate) fn fetch_update(
                &self,
                _: Ordering,
                _: Ordering,
                mut change: impl FnMut($Value) -> Option<$Value>,
            ) -> Result<$Value, $Value> {
                let mut present = self.load(Ordering::Relaxed);
                while let Some(new) = change(present) {
                    match self.compare_exchange(present, new, Ordering::SeqCst, Ordering::Relaxed) {
                        Ok(before) => return Ok(before),
                        Err(now) => present = now,
                    }
                }
                Err(present)
            }
        }
    };
}

atomic!(AtomicU32, u32, AtomicU32);
atomic!(AtomicU64, u64, AtomicU64);
atomic!(AtomicUsize, usize, AtomicUsize);
atomic!(AtomicIsize, isize, AtomicIsize);

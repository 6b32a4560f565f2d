//! The calling thread.

use std::cell::Cell;

use crate::fork;

thread_local! {
    static KNOWN: Cell<(u64, u32)> = const { Cell::new((u64::MAX, 0)) };
}

/// Its id, as the kernel knows it in the process's pid namespace. Asked once per thread, and once more after a fork.
#[inline]
pub fn id() -> u32 {
    let (epoch, id) = KNOWN.get();
    if epoch == fork::epoch() { id } else { ask() }
}

#[cold]
fn ask() -> u32 {
    let id = nix::unistd::gettid().as_raw().unsigned_abs();
    KNOWN.set((fork::current(), id));
    id
}

//! From a simulated thread to the world: an operation that others can notice waits until it is the thread's turn.

use crate::coroutine;
use crate::op::Op;
use crate::world;

/// Does an operation for the calling thread.
pub(crate) fn call(op: Op) -> u64 {
    match world::with(|world| world.attempt(op)) {
        Some(value) => value,
        None => coroutine::suspend(op),
    }
}

/// The calling thread is where it forgets all but this.
pub(crate) fn forget(rest: (u32, u32)) {
    call(Op::Loop(u64::from(rest.0) << 32 | u64::from(rest.1)));
}

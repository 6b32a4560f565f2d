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

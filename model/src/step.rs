//! From a simulated thread to the state: an operation that others can notice waits until it is the thread's turn.

use crate::coroutine;
use crate::op::Op;
use crate::state;

/// Does an operation for the calling thread.
pub(crate) fn call(op: Op) -> u64 {
    match state::with(|state| state.attempt(op)) {
        Some(value) => value,
        None => coroutine::suspend(op),
    }
}

//! Execution of a simulated thread's operations. An operation that other threads can observe waits for the thread's next step.

use crate::coroutine;
use crate::op::Op;
use crate::state;

/// Executes an operation of the calling thread.
pub(crate) fn call(op: Op) -> u64 {
    match state::with(|state| state.execute_privately(op)) {
        Some(value) => value,
        None => coroutine::suspend(op),
    }
}

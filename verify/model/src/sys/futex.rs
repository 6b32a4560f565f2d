//! Futex calls to the simulated kernel.

use std::time::Duration;

use crate::env::AtomicU32;
use crate::op::Op;
use crate::{state, step};

/// The time limit of a sleep that may not be woken.
const BRIEFLY: Duration = Duration::from_millis(5);

/// Sleeps if the word has this value. The duration only determines whether the sleep may reach its time limit.
pub(crate) fn wait(word: &AtomicU32, value: u32, duration: Duration) {
    step::call(Op::Wait { at: state::at(std::ptr::from_ref(word).addr()), value: value.into(), briefly: duration <= BRIEFLY });
}

pub(crate) fn wake_one(word: &AtomicU32) {
    step::call(Op::Wake(state::at(std::ptr::from_ref(word).addr())));
}

//! Futex calls, which the simulated kernel serves.

use std::time::Duration;

use crate::env::AtomicU32;
use crate::op::Op;
use crate::{state, step};

/// The longest sleep of a thread that may not be woken.
const BRIEFLY: Duration = Duration::from_millis(1);

/// How long does not matter: a sleep ends when it is roused. A brief one may end by its bound.
pub(crate) fn wait(word: &AtomicU32, value: u32, duration: Duration) {
    step::call(Op::Wait { at: state::at(std::ptr::from_ref(word).addr()), value: value.into(), briefly: duration <= BRIEFLY });
}

pub(crate) fn wake_one(word: &AtomicU32) {
    step::call(Op::Wake(state::at(std::ptr::from_ref(word).addr())));
}

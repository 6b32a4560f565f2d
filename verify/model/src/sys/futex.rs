//! Futex calls to the simulated kernel.

use std::time::Duration;

use crate::env::AtomicU32;
use crate::lock::BLIND_AGAIN;
use crate::op::Op;
use crate::{state, step};

/// Sleeps if the word has this value. The duration only determines whether the sleep may reach its time limit.
pub(crate) fn wait(word: &AtomicU32, value: u32, duration: Duration) {
    step::call(Op::Wait {
        at: state::at(std::ptr::from_ref(word).addr()),
        value: value.into(),
        briefly: duration <= BLIND_AGAIN,
    });
}

pub(crate) fn wake_one(word: &AtomicU32) {
    step::call(Op::Wake(state::at(std::ptr::from_ref(word).addr())));
}

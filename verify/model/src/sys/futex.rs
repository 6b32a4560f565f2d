//! Futex calls to the simulated kernel.

use std::time::Duration;

use crate::env::AtomicU32;
use crate::lock::BLIND_AGAIN;
use crate::op::Op;
use crate::{state, step};

/// Sleeps if the word has this value. The duration only determines whether the sleep may reach its time limit.
pub(crate) fn wait(word: &AtomicU32, value: u32, class: u32, duration: Duration) {
    step::call(Op::Wait {
        at: state::at(std::ptr::from_ref(word).addr()),
        value: value.into(),
        class,
        briefly: duration <= BLIND_AGAIN,
    });
}

pub(crate) fn wake_one(word: &AtomicU32) {
    wake_one_of(word, u32::MAX);
}

pub(crate) fn wake_one_of(word: &AtomicU32, class: u32) -> bool {
    step::call(Op::Wake { at: state::at(std::ptr::from_ref(word).addr()), class }) != 0
}

//! The stand-in for lock-shm's `sys`: the list is its own, and the kernel is the [simulated](crate::kernel) one.
#![allow(unsafe_code)]

use std::ptr;

use crate::process::Duration;
use crate::scene::Scene;
use crate::step;
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::sync::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, compiler_fence};
use crate::table::Hot;
use crate::world::{self, Op};

#[allow(clippy::all, clippy::undocumented_unsafe_blocks, reason = "they are copies")]
mod list {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/sys.rs"));
}

pub(crate) use self::list::{Head, address, link, unlink, unlink_only};

impl Head {
    pub(crate) fn new() -> Self {
        Self { first: AtomicUsize::default(), offset: AtomicIsize::default(), pending: AtomicUsize::default() }
    }
}

/// How many bits of these words are set.
pub(crate) fn count_ones(words: &[AtomicU64]) -> u64 {
    words.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum()
}

/// The calling thread.
pub(crate) struct ThisThread {
    pub(crate) id: u32,
    /// Whether its process takes part in barriers.
    pub(crate) barriers: bool,
    scene: &'static Scene,
    number: usize,
}

impl ThisThread {
    pub(crate) fn get() -> Option<Self> {
        world::with(|world| {
            let (scene, number) = (world.scene, world.current);
            Some(Self { id: scene.tid(number), barriers: scene.has_barriers(number), scene, number })
        })
    }

    pub(crate) fn at_once() -> Option<Self> {
        Self::get().filter(|thread| thread.barriers)
    }

    pub(crate) fn head(&self) -> &Head {
        self.scene.head_of(self.number)
    }
}

/// Every thread that takes part in barriers comes to one. False where the caller may not ask for that.
pub(crate) fn barrier() -> bool {
    ThisThread::at_once().is_some() && step::call(Op::Barrier) == 0
}

/// How long does not matter: a sleep ends when it is roused.
pub(crate) fn wait(word: &AtomicU32, value: u32, _: Duration) {
    step::call(Op::Wait(world::at(ptr::from_ref(word).addr()), value.into()));
}

pub(crate) fn wake_one(word: &AtomicU32) {
    step::call(Op::Wake(world::at(ptr::from_ref(word).addr())));
}

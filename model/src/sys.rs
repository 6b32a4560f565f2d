//! The stand-in for lock-shm's `sys`: the lists are its own, and the kernel is the [simulated](crate::kernel) one.
#![allow(unsafe_code)]

use std::ptr;

use crate::op::Op;
use crate::process::Duration;
use crate::scene::Scene;
use crate::step;
use crate::sync::Ordering::{Relaxed, SeqCst};
use crate::sync::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, compiler_fence};
use crate::table::{Hot, Owner};
use crate::world;

mod record;

#[allow(clippy::all, clippy::undocumented_unsafe_blocks, unused_parens, unreachable_pub, reason = "they are copies")]
mod list {
    use super::*;

    include!(concat!(env!("OUT_DIR"), "/sys.rs"));

    /// The calling thread ends: its library does what is left to do.
    pub(crate) fn end_thread() {
        mark_list(ptr::null_mut());
    }
}

pub(crate) use self::list::{Head, address, end_thread, is_empty, link, link_only, unlink, unlink_only};
pub(crate) use self::record::{Occasion, can_link, forget, link_identity, unlink_identity};
use self::record::{free_record, is_last, note_another, note_none, note_only, take_neighbours};

/// From a node to its word.
const OFFSET: isize = std::mem::offset_of!(Hot, word) as isize - std::mem::offset_of!(Hot, next) as isize;

impl Head {
    pub(crate) fn new() -> Self {
        Self { first: AtomicUsize::default(), offset: AtomicIsize::default(), pending: AtomicUsize::default() }
    }

    fn is_empty(&self) -> bool {
        self.first.load(Relaxed) == ptr::from_ref(self).addr()
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
    pub(crate) fn get() -> Self {
        world::with(|world| {
            let (scene, number) = (world.scene, world.current);
            Self { id: scene.tid(number), barriers: scene.has_barriers(number), scene, number }
        })
    }

    pub(crate) fn try_fast() -> Option<Self> {
        Some(Self::get()).filter(|thread| thread.barriers && !thread.is_full())
    }

    pub(crate) fn try_fast_as_owner() -> Option<Self> {
        Self::try_fast()
    }

    pub(crate) fn list(&self) -> Option<&Head> {
        Some(self.scene.head_of(self.number))
    }

    pub(crate) fn identity_list(&self) -> &Head {
        self.scene.identity_head_of(self.number)
    }

    /// Whether there is no room in its list for another lock: there is room for one, or for none.
    pub(crate) fn is_full(&self) -> bool {
        match self.scene.scenario.room(self.number) {
            Some(0) => true,
            Some(_) => !self.scene.head_of(self.number).is_empty(),
            None => false,
        }
    }
}

/// What a thread remembers of itself.
struct ThreadCache {
    epoch: Epoch,
}

struct Epoch;

impl Epoch {
    fn get(&self) -> u64 {
        fork::epoch()
    }
}

mod fork {
    pub(super) fn epoch() -> u64 {
        1
    }
}

/// Something that each thread has.
struct PerThread<T>(T);

impl<T> PerThread<T> {
    fn with<R>(&self, act: impl FnOnce(&T) -> R) -> R {
        act(&self.0)
    }
}

static CACHE: PerThread<ThreadCache> = PerThread(ThreadCache { epoch: Epoch });

/// Removes a lock from those of the calling thread that the kernel does not look after.
fn pop_identity() -> Option<usize> {
    let thread = ThisThread::get();
    let list = thread.identity_list();
    let (start, node) = (ptr::from_ref(list).addr(), list.first.load(Relaxed));
    (node != start).then(|| {
        let _ = world::at(node);
        // SAFETY: a node of this list is in a line of the scene.
        list.first.store(unsafe { (*(node as *const AtomicUsize)).load(Relaxed) }, Relaxed);
        node
    })
}

/// Every thread that takes part in barriers comes to one. False where the caller may not ask for that.
pub(crate) fn barrier() -> bool {
    ThisThread::get().barriers && step::call(Op::Barrier) == 0
}

/// The longest sleep of a thread that may not be woken.
const BRIEFLY: Duration = Duration::from_millis(1);

/// How long does not matter: a sleep ends when it is roused. A brief one may end by its bound.
pub(crate) fn wait(word: &AtomicU32, value: u32, duration: Duration) {
    step::call(Op::Wait { at: world::at(ptr::from_ref(word).addr()), value: value.into(), briefly: duration <= BRIEFLY });
}

pub(crate) fn wake_one(word: &AtomicU32) {
    step::call(Op::Wake(world::at(ptr::from_ref(word).addr())));
}

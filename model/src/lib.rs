//! A model checker for the locks of `lock-shm` and the allocation of `lock-core`: it visits every state that a few threads can come to.
//!
//! The build script copies the sources that are checked, and changes three things in the copies: the standard library's atomics become
//! simulated ones, a few numbers become small, and [bugs](PLANTED) can be switched on. What the sources ask of the kernel is simulated:
//! futexes, `membarrier`, and what it does for a dying thread that has a robust list. Each simulated thread runs on a stack of its own and stops before every
//! operation that others can notice; the explorer tries each order of these steps, and the death of a thread at each place,
//! including between two that nobody else notices.
//!
//! - **Memory** is that of x86: each thread's stores become visible in their order, but later, at any time; an atomic change and a system
//!   call wait for them. Weaker processors, and what a compiler may reorder, are not modelled.
//! - **A sleep** ends when it is woken. It may end by its bound only after a death that may cost a wake-up (of a thread that had been
//!   woken, or was in the middle of a change), so that every other lost wake-up is a sleep for ever.
//! - **A state** is the memory, the store buffers, who sleeps and who is dead, and a fingerprint of all that each thread has been told in its
//!   present act. A state that was visited is not visited again; when none is left, the scenario holds, within [`BOUNDS`].
//!
//! `cargo xtask model` runs every scenario, and `cargo xtask model --planted` shows that each planted bug is found.
// What is copied links to what is not.
#![allow(rustdoc::broken_intra_doc_links)]
#![deny(unsafe_code)]

mod coroutine;
mod explorer;
mod ghost;
mod hash;
mod kernel;
mod plant;
mod planted;
mod process;
mod scenario;
mod scenarios;
mod scene;
mod step;
mod sync;
mod sys;
mod table;
mod trace;
mod world;

#[allow(dead_code, unused_parens, unreachable_pub, missing_docs, clippy::all, reason = "it is a copy")]
mod lock {
    include!(concat!(env!("OUT_DIR"), "/lock.rs"));
}
#[allow(dead_code, unused_parens, unreachable_pub, missing_docs, clippy::all, reason = "it is a copy")]
mod waiters {
    include!(concat!(env!("OUT_DIR"), "/waiters.rs"));
}
#[allow(dead_code, unused_parens, unreachable_pub, missing_docs, clippy::all, reason = "it is a copy")]
mod robust {
    include!(concat!(env!("OUT_DIR"), "/robust.rs"));
}

use real_core::{Allocation, Error, ErrorKind, Generation, Holder, Label, LockId, Reconciled, Result};

pub use explorer::{Progress, Report, Verdict};
pub use planted::{PLANTED, Planted};
pub use scenario::Scenario;
pub use scenarios::scenarios;

/// What is bounded, beside who does what and how many die.
pub const BOUNDS: &str = "1 look at a held lock before the sleep (100 outside of the model); labels of 16 bytes; 6 overlong sleeps after a death, \
                          4 with two threads; total store order; sleepers woken in any order";

/// Runs something with a bug switched on, in this thread.
pub fn planted<T>(bug: &'static Planted, run: impl FnOnce() -> T) -> T {
    plant::set(Some(bug.name));
    let result = run();
    plant::set(None);
    result
}

/// What came of an acquisition.
#[derive(Debug)]
enum Acquired {
    Held {
        token: u64,
    },
    Recovered {
        token: u64,
        /// The thread that died.
        dead: usize,
    },
    TimedOut,
}

/// How long an acquisition may wait: when a deadline passes is one of the things that are tried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deadline {
    Now,
    At,
    Never,
}

impl Deadline {
    fn remaining(self) -> Option<process::Duration> {
        match self {
            Self::Now => Some(process::Duration::ZERO),
            Self::At => Some(process::Duration::from_millis(1 - step::call(world::Op::Clock))),
            Self::Never => None,
        }
    }
}

/// What a release needs.
#[derive(Debug)]
struct Proof;

/// The plug-in side of a lock.
#[allow(dead_code, reason = "what only describes is not called")]
trait RawLock {
    fn acquire_at_once(&self) -> Option<u64>;
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;
    fn release(&self, proof: Proof) -> Result<()>;
    fn holder(&self) -> Result<Option<Holder>>;
    fn generation(&self) -> Option<Generation>;
}

//! A model checker for the locks of `lock-shm` and the allocation of `lock-core`: it visits every state that a few threads can reach.
//!
//! The build script copies the sources that are checked, and changes three things in the copies: the standard library's atomics become
//! simulated ones, a few numbers become small, and [bugs](PLANTED) can be switched on. The sources' requests to the kernel are simulated:
//! futexes, `membarrier`, and the walk of a dead thread's robust list. Each simulated thread has its own stack and stops before
//! every operation that others can notice; the explorer tries each order of these steps, and the death of a thread at each place,
//! including between two that no other thread notices.
//!
//! - **Memory** is that of x86: each thread's stores become visible in their order, but later, at any time; an atomic change and a system
//!   call wait for them. Weaker processors, and what a compiler may reorder, are not modelled.
//! - **PID namespaces**: a thread is at home, or *foreign*. Foreign threads put identity numbers into lock words, and have the same thread
//!   ids as threads at home. A thread at home whose list has no room does the former, too. A thread is alone in its process, unless the
//!   scenario says otherwise, and can prove that another's process is dead once the kernel has done everything for it; that a thread of a
//!   living process has ended is seen at home only.
//! - **Ends**: a thread dies with its process, or ends in a process that lives on; then `lock-shm` marks its locks.
//! - **A sleep** ends when it is woken. It may end by its bound if it is one of a millisecond, which a waiter chooses when it may not be
//!   woken, and after a death that may cost a wake-up: of a thread that had been woken, was in the middle of a change, was recovering a
//!   lock, or had its identity number in a word. Every other lost wake-up is an error.
//! - **Deaths** inside are reported to each next owner until one marks the lock consistent, and not after that. No other death is
//!   reported.
//! - **A state** is the memory, the store buffers, the threads that sleep or are dead, and a fingerprint of every value that each
//!   thread received in its present act. A state that was visited is not visited again; when none is left, the scenario holds, within [`BOUNDS`].
//!
//! `cargo xtask model` runs every scenario, and `cargo xtask model --planted` shows that each planted bug is found.
// What is copied links to what is not.
#![allow(rustdoc::broken_intra_doc_links)]
#![deny(unsafe_code)]

mod act;
mod coroutine;
mod death;
mod explorer;
mod final_check;
mod ghost;
mod hash;
mod kernel;
mod op;
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
mod thread;
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

use death::{Acquired, Cause, Condition, Death, Proof, Recovery};

pub use explorer::{Progress, Report, Verdict};
pub use planted::{PLANTED, Planted};
pub use scenario::Scenario;
pub use scenarios::scenarios;

/// The bounds, beside the acts and the deaths of a scenario.
pub const BOUNDS: &str = "1 poll of a held lock before the sleep (100 outside of the model); labels of 16 bytes; 6 sleeps that end by \
                          their bound, 4 with two threads; total store order; sleepers woken in any order";

/// Runs something with a bug switched on, in this thread.
pub fn planted<T>(bug: &'static Planted, run: impl FnOnce() -> T) -> T {
    plant::set(Some(bug.name));
    let result = run();
    plant::set(None);
    result
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
            Self::At => Some(process::Duration::from_secs(1 - step::call(op::Op::Clock))),
            Self::Never => None,
        }
    }
}

/// The plug-in side of a lock.
#[allow(dead_code, reason = "what only describes is not called")]
trait RawLock {
    fn acquire_at_once(&self) -> Option<u64>;
    fn acquire(&self, deadline: Deadline) -> Result<Acquired>;
    fn release(&self, proof: Proof) -> Result<()>;
    fn mark_consistent(&self) -> Result<()>;
    fn holder(&self) -> Result<Option<Holder>>;
    fn generation(&self) -> Option<Generation>;
}

//! The backend `sem`: System V semaphores with undo.

// `state` describes the protocol. `lock` and `wait` acquire and release a lock, and `recovery` takes it over from a dead owner.
// `run` creates the semaphore set for a run of ids. `set` and `semaphore` are the kernel's objects.

mod gate;
mod identity;
mod limits;
mod location;
mod lock;
#[cfg(test)]
mod lock_tests;
mod manager;
mod namespace;
mod ownership;
mod procfs;
mod recovery;
mod run;
mod semaphore;
mod set;
mod sets;
mod span;
mod state;
mod wait;

pub(crate) use self::manager::open;

pub use self::sets::{SemaphoreSet, sets};

//! The backend `sem`: System V semaphores with undo.
//!
//! Each of these files uses only the files below it: [`manager`] opens a store, [`lock`] and [`wait`] acquire and release a lock,
//! [`recovery`] takes it over, and [`state`] has the protocol. [`run`], [`set`] and [`semaphore`] are the semaphores of the
//! kernel.

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
mod state;
mod wait;

pub(crate) use self::manager::open;

pub use self::sets::{SemaphoreSet, sets};

//! The backend `sem`: System V semaphores with undo.

mod door;
mod home;
mod identity;
mod kernel;
mod limits;
mod listed;
mod lock;
#[cfg(test)]
mod lock_tests;
mod manager;
mod place;
mod run;
mod semaphore;
mod set;
mod state;
mod tenure;
mod waiting;

pub(crate) use self::manager::open;

pub use self::listed::{SemaphoreSet, sets};

//! The backend `sem`: System V semaphores with undo.

mod door;
mod home;
mod identity;
mod kernel;
mod limits;
mod listed;
mod lock;
mod manager;
mod run;
mod set;
mod tenure;

pub(crate) use self::manager::open;

pub use self::listed::{SemaphoreSet, sets};

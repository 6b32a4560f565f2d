//! The backend `posix-sem`: process-shared `sem_t`.

mod line;
mod lock;
mod manager;
mod recovery;
mod wait;

pub(crate) use self::manager::open;

//! The backend `posix-sem`: process-shared `sem_t`.

mod lock;
mod manager;

pub(crate) use self::manager::open;

//! podman's locks on files, for inspection only.

mod inspect;
mod lock;
mod manager;

use lock_core::Error;

pub(crate) use self::manager::open;

/// The error for everything that changes an id or acquires a lock.
fn read_only() -> Error {
    Error::unsupported(
        "podman's lock files can only be listed: podman removes the file of a lock that is freed while it is held, and then the lock can have \
         two owners; use podman itself",
    )
}

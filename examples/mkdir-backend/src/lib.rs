//! Locks that are directories, `mkdir:/dir`: a third-party backend that uses only the public API of `lock-core`.
//!
//! A lock is held while its directory has an entry. A shell script can see it, and release the lock of a dead owner with `rmdir`.
//! The kernel does not know about these locks, so the lock of a dead owner stays held until it is broken.
#![forbid(unsafe_code)]

mod dir;
mod lock;
mod manager;

use std::sync::Arc;

use lock_core::{Backend, Breaking, Capabilities, Deadlines, Manager, OpenMode, Persistence, Result, StoreUrl};

use dir::Dir;

/// The backend.
pub const BACKEND: Backend = Backend::new("mkdir", env!("CARGO_PKG_NAME"), "directories", open).with(CAPABILITIES);

const CAPABILITIES: Capabilities = Capabilities::minimal()
    .with_deadlines(Deadlines::Monotonic)
    .with_breaking(Breaking::Explicit)
    .with_persistence(Persistence::Disk);

lock_core::register!(BACKEND);

fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    // There are no options. `finish` refuses any, by name.
    url.options().finish()?;
    if !url.location().is_absolute() {
        return Err(url.error("the location is a path, as in mkdir:/run/locks"));
    }
    Ok(Arc::new(Dir::open(url.location(), mode)?))
}

//! Sessions with a lock server: what the backends past one machine share.
//!
//! A server such as etcd or PostgreSQL knows the owners of its locks by their sessions. A session lasts while the server gets a sign of
//! life at least once in its time to live ([`Timing::ttl`]). When it ends, its locks become free.
//!
//! A backend implements [`Engine`] and [`Session`] for its server, and its manager keeps a [`Sessions`]. The rest is here: a session for
//! each process, its renewal by a thread, the end of locks with their session, and [`RawLock`](lock_core::RawLock) with thread and
//! process guards, refusal of reentry, [`Guard::check`](lock_core::Guard::check), [`Guard::valid_for`](lock_core::Guard::valid_for) and
//! [`Guard::on_lost`](lock_core::Guard::on_lost).
//!
//! # Guarantees
//! - **A process stops relying on a lock before the server lets another one in.** A session is relied on for its time to live, less a
//!   margin, from the *sending* of the last request that the server has confirmed. The time is that of the clock since boot, which goes
//!   on while the machine is suspended.
//! - **A lost lock stays lost.** A session that was not confirmed in time is given up, also if the server is reached again later. The next
//!   acquisition starts another session.
//! - **A release is not forgotten.** If the server cannot be reached, the release is an error, and is repeated until the session ends.
//! - **A forked child has its own session.** It never writes to a connection of its parent.
//!
//! What no clock can prevent: a process that is stopped between reading the clock and the use of the protected data. The resource
//! then has to compare tokens ([`Guard::token`](lock_core::Guard::token)). The backends claim
//! [`Exclusion::Fenced`](lock_core::Exclusion::Fenced).
//!
//! # Threads
//! A process has two threads for each store in which it has a session: one renews the session, and one waits for the time until which the
//! session is relied on, because a renewal may block.
#![forbid(unsafe_code)]

mod clock;
mod engine;
mod held;
mod host;
mod key;
mod lease;
mod live;
mod lock;
mod losses;
mod open_stores;
mod sessions;
mod timing;
mod unforked;
mod wait;

pub use self::engine::{End, Engine, Granted, Session};
pub use self::host::this_process;
pub use self::lock::{CLAIMS, SessionLock};
pub use self::open_stores::OpenStores;
pub use self::sessions::Sessions;
pub use self::timing::{Timing, take_duration};
pub use self::wait::Wait;

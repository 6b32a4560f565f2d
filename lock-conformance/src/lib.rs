//! Conformance tests for backends of [`lock_core`], inside and outside of this project.
//!
//! A crate with a backend adds the lines `[[test]]`, `name = "conformance"` and `harness = false` to its `Cargo.toml`, and a file
//! `tests/conformance.rs`:
//! ```no_run
//! # mod my_backend {
//! #     use lock_core::{Backend, Error};
//! #     pub const BACKEND: Backend = Backend::new("mine", "mine", "", |_, _| Err(Error::unsupported("an example")));
//! # }
//! lock_conformance::main! { my_backend::BACKEND => |scratch| format!("mine:{}/store", scratch.display()) }
//! ```
//! The closure returns the URL of a store in an empty directory. `cargo test` and nextest then run cases such as
//! `mine::owner_death::kill_9_frees_the_lock`. The backend's [`lock_core::Capabilities`] select the cases. Each claim has cases that
//! prove it. Without the claim, they are listed as ignored, with the reason, and another case proves the refusal.
//!
//! # How it works
//! Only peers use locks. A *peer* is a process of the test binary whose threads execute commands that the case sends over a socket. A
//! case therefore reads like a protocol: `a` locks 3, `b` finds it busy, `a` is killed, `b` acquires it and gets a report. A watchdog
//! fails a case that hangs, and prints the transcript of the commands. Peers end with the suite; stores are destroyed with their case.
//!
//! # Reports of deaths
//! [`DeathReports::UntilConsistent`](lock_core::DeathReports::UntilConsistent) claims that the report of a death stays until an owner
//! calls [`Guard::mark_consistent`](lock_core::Guard::mark_consistent). A backend with this claim reads
//! [`Proof::condition`](lock_core::Proof::condition) when a lock is released. Unless it is
//! [`Consistent`](lock_core::Condition::Consistent), the next owner gets a report. The cases are in the group `death_reports`.
//!
//! # Settings
//! - `LOCK_CONFORMANCE_SCALE=10` runs the long cases ten times as long.
//! - `LOCK_CONFORMANCE_WATCHDOG=300` sets the time limit of a case, in seconds.
//! - `LOCK_CONFORMANCE_REPORT=promises.md` writes the summary by promise to a file, as a table in Markdown.
//! - `LOCK_CONFORMANCE_SET_CLOCK=1`, as root, lets a case set the machine's clock back by an hour and forward again. Use it only on a
//!   machine without other users of the clock.
//!
//! # Features
//! Two longer tests of a backend, for a program of its own, are behind features, so that the suite stays quick to build:
//! - `sweep`: `sweep::Sweep` kills a process at every instruction and every system call of each operation.
//! - `soak`: `soak::Soak` kills processes at random, most of them owners of a lock, for as long as it runs.

mod case;
mod cases;
mod fixture;
mod leftovers;
mod link;
mod need;
mod overlay;
mod panic_message;
mod peer;
mod process;
mod promise;
mod protocol;
mod report;
mod run;
mod scratch;
mod shared_memory;
#[cfg(feature = "soak")]
pub mod soak;
mod suite;
#[cfg(feature = "sweep")]
pub mod sweep;
mod sys;
mod threads;
mod trace;
mod transcript;
mod trial;
mod usage;

pub use case::Failure;
pub use run::{main, peer_if_asked, run_case, run_trials, trials};
pub use suite::Suite;
pub use trial::Trial;

/// Defines the `main` of a test binary with `harness = false` that runs suites.
///
/// The arguments are separated by commas. Each is `BACKEND => |scratch| URL`, as for [`Suite::new`], or a [`Suite`].
///
/// # Examples
/// ```no_run
/// # mod my_backend {
/// #     use lock_core::{Backend, Capabilities, Error, Lock};
/// #     pub const FAST: Backend = Backend::new("fast", "mine", "", |_, _| Err(Error::unsupported("an example")));
/// #     pub const SAFE: Backend = Backend::new("safe", "mine", "", |_, _| Err(Error::unsupported("an example")));
/// #     pub const CLAIMS: Capabilities = Capabilities::minimal();
/// #     pub fn anonymous() -> Lock { unimplemented!() }
/// # }
/// use lock_conformance::Suite;
///
/// lock_conformance::main! {
///     my_backend::FAST => |scratch| format!("fast:{}/store", scratch.display()),
///     Suite::new(my_backend::SAFE, |scratch| format!("safe:{}/store", scratch.display()))
///         .files(|scratch, _url| vec![scratch.join("store")]),
///     Suite::of_lock("anonymous", my_backend::CLAIMS, my_backend::anonymous),
/// }
/// ```
#[macro_export]
macro_rules! main {
    ($($what:expr $(=> $url:expr)?),+ $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            $crate::main([$($crate::__suite!($what $(=> $url)?)),+])
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __suite {
    ($backend:expr => $url:expr) => {
        $crate::Suite::new($backend, $url)
    };
    ($suite:expr) => {
        $suite
    };
}

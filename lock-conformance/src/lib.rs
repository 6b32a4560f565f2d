//! Conformance tests for backends of [`lock_core`], inside and outside of this project.
//!
//! A crate with a backend adds this to its `Cargo.toml`:
//! ```toml
//! [dev-dependencies]
//! lock-conformance = "0.1"
//!
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//! and a file `tests/conformance.rs`, with the URL of a store in an empty directory:
//! ```no_run
//! # mod my_backend {
//! #     use lock_core::{Backend, Error};
//! #     pub const BACKEND: Backend = Backend::new("mine", "mine", "", |_, _| Err(Error::unsupported("an example")));
//! # }
//! lock_conformance::main! { my_backend::BACKEND => |scratch| format!("mine:{}/store", scratch.display()) }
//! ```
//! `cargo test` and nextest then run cases such as `mine::owner_death::kill_9_frees_the_lock`. The backend's [`lock_core::Capabilities`]
//! select the cases. Each claim has cases that prove it. Without the claim, they are listed as ignored, with the reason, and another
//! case proves the refusal.
//!
//! A crate can have several suites, give a suite more information, and test locks that belong to no store; see [`main!`] and [`Suite`].
//!
//! # Groups of cases
//! | group | promise |
//! |---|---|
//! | `opening` | When several processes create a store, one creates it and the others open it. Capacities and options are checked. |
//! | `exclusion` | One owner at a time: among threads, handles, processes, and threads of several processes (`mixed`). |
//! | `deadlines` | A timed wait ends at its deadline, not before and not late, and names the owner. |
//! | `waking` | A release wakes a waiter in any process, after short and long waits. |
//! | `fairness` | A waiter is overtaken a bounded number of times, and waiters are served in about their order. Killed ones delay no other. |
//! | `costs` | An attempt does not sleep, and a wait uses no processor. |
//! | `reentry` | A thread that locks a lock which it already holds gets an error. |
//! | `send` | A guard for the process moves between its threads. It excludes guards of both kinds, and ends with the process. |
//! | `owner_death` | The lock of an owner that dies or executes a program is released, and the next owner gets a report of the death. |
//! | `death_reports` | The report of a death stays until an owner marks the lock consistent. Its cause is right, or unknown. |
//! | `guard_checks` | A check of a guard confirms a lock that is held, and detects that a lock was lost. |
//! | `sessions` | An owner that loses its session with a server learns of it, and has an older token than the next owner. |
//! | `fork` | A forked child owns nothing, regardless of how and when it was forked. |
//! | `descriptors` | A program may close the library's descriptors and reuse their numbers. |
//! | `namespaces` | Processes of several PID, user and IPC namespaces exclude each other, equal process ids included. |
//! | `visibility` | An owner that a waiter cannot see is alive: hidden or missing `/proc`, other users, user namespaces. |
//! | `views` | A store under two paths of an overlay is one store, or is refused. |
//! | `allocation` | Ids are unique, can be allocated again once they are freed, and are never lost. Different ids are different locks. |
//! | `freeing` | A lock that is held stays held when its id is freed. A double free is refused. |
//! | `growing` | A store grows while other processes use it, and while a process that grows it is killed. |
//! | `raising` | The capacity of a store is raised while processes use it. Owners, waiters, labels and names stay, and kills do no harm. |
//! | `names` | A name leads to one lock in all processes, which is allocated on first use. Kills leave no incomplete name. |
//! | `labels` | Labels are stored unchanged. |
//! | `listing` | Lists name the allocated ids, the held locks and their owners. Listing disturbs no process. |
//! | `waiters` | Lists name the threads that wait, their locks and for how long. The dead and those that stopped waiting are not listed. |
//! | `deadlocks` | Of threads that wait for each other, exactly one is refused if it wants to be, and the error has the cycle. No other wait is refused. |
//! | `tokens` | Fencing tokens increase. |
//! | `reconciling` | Reconciling leaves exactly the given ids allocated. |
//! | `reclaiming` | Ids that a process allocated for itself are reclaimed once it is proven dead, and only then. |
//! | `breaking` | A lock that a dead owner left locked can be broken once. |
//! | `storm` | Locks stay exclusive while owners are killed in their critical sections. |
//! | `copies` | A copy of a store is a separate store, or is refused. The original is not affected. |
//! | `cleaning` | Programs that remove unused files do no harm. |
//! | `damage` | A header that is changed, cut or of another version is a typed error. |
//! | `vanishing` | Processes that have a removed or replaced store open exclude each other, and get a typed error. |
//! | `filesystems` | On a full file system no process is killed. File locks that are denied are an error, not a busy lock. |
//! | `limits` | Where descriptors, memory, disk space or a system call are refused, an operation is an error and nothing is lost. |
//! | `sharing` | Users and groups share a store as its options say, under any umask. |
//! | `links` | A symbolic link in place of a file is refused. |
//! | `leaks` | Operations leave no descriptor, memory, thread or semaphore set behind, and a program inherits none. |
//!
//! # How it works
//! Only peers use locks. A *peer* is a process of the test binary whose threads execute commands that the case sends over a socket. A
//! case therefore reads like a protocol: `a` locks 3, `b` finds it busy, `a` is killed, `b` acquires it and gets a report.
//!
//! The first case that hangs fails after 30 seconds, and later ones after 10. The failure includes the transcript of its commands. After
//! four such cases, the other cases are not run.
//!
//! The suite removes scratch directories, destroys stores, and kills and reaps processes. A run fails if the backend leaves a semaphore
//! set, a file in `/dev/shm` or a process behind. The failure names it.
//!
//! # Reports of deaths
//! A backend that claims [`DeathReports::UntilConsistent`](lock_core::DeathReports::UntilConsistent) keeps the report of a death until an
//! owner calls [`Guard::mark_consistent`](lock_core::Guard::mark_consistent), in any process. Two methods of the trait serve that:
//!
//! - [`RawLock::release`](lock_core::RawLock::release) gets the condition of the protected data,
//!   [`Proof::condition`](lock_core::Proof::condition). After `Condition::Inconsistent` the next owner gets the same report as this one.
//!   After `Condition::Panicked` it gets a report of this owner, with `Cause::Panicked`. After `Condition::Consistent` it gets none.
//! - [`RawLock::mark_consistent`](lock_core::RawLock::mark_consistent) drops the report.
//!
//! A backend that claims [`DeathReports::Once`](lock_core::DeathReports::Once) ignores the condition, and reports a death to the next
//! owner alone. If the backend does not know how an owner ended, `Death::cause` is `Cause::Unknown`. Any other cause has to be right.
//!
//! # Reports of a run
//! A case that is not run has a reason:
//!
//! - `not claimed: tokens`: the backend does not claim the capability.
//! - `this machine lacks: root`: the machine does not have or allow something.
//! - `the suite does not set: the files of a store`: the [`Suite`] was built without this information.
//!
//! At its end a run prints the result for each promise:
//! ```text
//! promises of mine:
//!   opening      kept
//!   waking       BROKEN (2 of 14 cases)
//!                  mine::waking::a_waiter_is_woken_soon_after_a_long_wait
//!                  mine::waking::processes::a_waiter_is_woken_soon
//!   tokens       not claimed: tokens
//!   visibility   kept; this machine lacks: root and mounts of /proc
//! ```
//! For JUnit's format run the cases with nextest, and put this into `.config/nextest.toml`; `cargo nextest run --profile ci` then writes
//! `target/nextest/ci/junit.xml`:
//! ```toml
//! [profile.ci.junit]
//! path = "junit.xml"
//! ```
//!
//! # Settings
//! - `LOCK_CONFORMANCE_REPORT=promises.md` writes the summary by promise to a file, as a table in Markdown.
//! - `LOCK_CONFORMANCE_SCALE=10` runs the long cases ten times as long.
//! - `LOCK_CONFORMANCE_WATCHDOG=300` sets the time limit of a case, in seconds.
//! - `LOCK_CONFORMANCE_SET_CLOCK=1`, as root, lets a case set the machine's clock back by an hour and forward again. Use it only on a
//!   machine without other users of the clock.
//!
//! # Features
//! Two longer tests of a backend are behind features. A program calls them, because a sweep needs its allocator, and both fork:
//!
//! - `sweep`: `sweep::Sweep` kills a process at every instruction and every system call of each operation, alone and beside another
//!   process, and checks that no lock and no id is lost.
//! - `soak`: `soak::Soak` kills processes at random, most of them owners of a lock, and checks that no update under a lock is lost.
//!
//! # Tests of the suite
//! `tests/rogues.rs` tests the suite itself with backends that are wrong on purpose. Each one is detected by the case that is named for the
//! broken promise, and the test prints a table of the faults and these cases. Some backends have a variant that is wrong once in 50
//! operations, which the case has to detect in two of three runs. With `--ignored`, the test runs these variants ten times, expects to
//! detect each, and checks that wrong backends pass all other cases.

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

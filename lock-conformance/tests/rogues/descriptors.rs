//! Wrong backends that depend on descriptors which the program can close.

use std::fs::File;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Error, LockId, Manager, OpenMode, RawLock, Result, StoreUrl};
use nix::fcntl::OFlag;
use nix::unistd::{Pid, getsid};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::number::Number;
use super::watched::watched;
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<GrantsWithoutItsDescriptor>(),
        faulty::<TakesClosedForDead>(),
        faulty::<TakesCloseOnExecForDead>(),
        faulty::<GrantsToWaitersWithoutDescriptor>(),
        faulty::<WaitsForeverWithoutDescriptor>(),
        faulty::<KeepsStandardNumbers>(),
        faulty::<GrantsInNewSessions>(),
    ]
}

/// The interval between two attempts to acquire.
pub(super) const PAUSE: Duration = Duration::from_micros(500);

#[derive(Debug)]
struct GrantsWithoutItsDescriptor;

static OPENED: Number = Number::none();

fn open_and_keep(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let store = reference::open(url, mode)?;
    OPENED.open(&url.location().join("kept"))?;
    Ok(store)
}

impl Fault for GrantsWithoutItsDescriptor {
    const NAME: &'static str = "grants-without-its-descriptor";
    const FAULT: &'static str = "Grants every lock when the store's descriptor is closed";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "descriptors::closing_everything_before_the_first_lock_keeps_exclusion",
        "although the program, which closed descriptors, holds it",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_keep(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if OPENED.is_lost() { Ok(Acquired::Held { token: u64::MAX }) } else { honest.acquire(deadline) }
    }
}

#[derive(Debug)]
struct GrantsToWaitersWithoutDescriptor;

impl Fault for GrantsToWaitersWithoutDescriptor {
    const NAME: &'static str = "grants-to-waiters-without-descriptor";
    const FAULT: &'static str = "Grants the lock to a waiter without a deadline when the descriptor is closed";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "descriptors::closing_everything_while_waiting_keeps_exclusion",
        "whose process closed descriptors, acquired the lock that another process holds",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_keep(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let was_open = !OPENED.is_lost();
        if deadline != Deadline::Never {
            return honest.acquire(deadline);
        }
        loop {
            match honest.acquire(Deadline::Now)? {
                Acquired::TimedOut if was_open && OPENED.is_lost() => return Ok(Acquired::Held { token: u64::MAX }),
                Acquired::TimedOut => thread::sleep(PAUSE),
                acquired => return Ok(acquired),
            }
        }
    }
}

#[derive(Debug)]
struct WaitsForeverWithoutDescriptor;

impl Fault for WaitsForeverWithoutDescriptor {
    const NAME: &'static str = "waits-forever-without-descriptor";
    const FAULT: &'static str = "Never returns from a wait with a deadline when the descriptor is closed";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("descriptors::closing_everything_while_waiting_with_a_deadline_keeps_exclusion", "watchdog")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_and_keep(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let was_open = !OPENED.is_lost();
        let Deadline::At(_) = deadline else { return honest.acquire(deadline) };
        loop {
            let acquired = honest.acquire(Deadline::Now)?;
            while was_open && acquired == Acquired::TimedOut && OPENED.is_lost() {
                thread::park();
            }
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                return Ok(acquired);
            }
            thread::sleep(deadline.remaining().map_or(PAUSE, |left| left.min(PAUSE)));
        }
    }
}

#[derive(Debug)]
struct KeepsStandardNumbers;

impl Fault for KeepsStandardNumbers {
    const NAME: &'static str = "keeps-standard-numbers";
    const FAULT: &'static str = "Opens files under standard descriptor numbers that the program has closed";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("descriptors::no_descriptor_below_three_is_kept", "the library keeps descriptors below 3")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let store = reference::open(url, mode)?;
        let header = File::open(url.location().join("header")).map_err(|error| Error::system("open", error))?;
        let _stays_open = header.into_raw_fd();
        Ok(store)
    }
}

#[derive(Debug)]
struct GrantsInNewSessions;

static SESSION: AtomicI32 = AtomicI32::new(0);

fn session() -> i32 {
    getsid(None).map_or(0, Pid::as_raw)
}

impl Fault for GrantsInNewSessions {
    const NAME: &'static str = "grants-in-new-sessions";
    const FAULT: &'static str = "Grants every lock to a process that starts a session after opening the store, as daemons do";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("descriptors::a_daemon_whose_parent_has_exited_keeps_exclusion", "although a daemon holds it")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        SESSION.store(session(), Ordering::Relaxed);
        reference::open(url, mode)
    }

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let began_one = session() != SESSION.load(Ordering::Relaxed);
        if began_one { Ok(Acquired::Held { token: u64::MAX }) } else { honest.acquire(deadline) }
    }
}

#[derive(Debug)]
struct TakesClosedForDead;

impl Fault for TakesClosedForDead {
    const NAME: &'static str = "takes-closed-for-dead";
    const FAULT: &'static str = "Considers an owner dead that has closed its descriptor of the lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "descriptors::closing_everything_while_holding_keeps_exclusion",
        "although the program holds it, and closed descriptors",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        watched(honest, url, id, |owner| !owner.has_open_number())
    }
}

#[derive(Debug)]
struct TakesCloseOnExecForDead;

impl Fault for TakesCloseOnExecForDead {
    const NAME: &'static str = "takes-close-on-exec-for-dead";
    const FAULT: &'static str = "Considers an owner dead that has set FD_CLOEXEC on its descriptor of the lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("descriptors::close_on_exec_for_everything_releases_the_lock_at_exec", "and has not called exec yet")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        watched(honest, url, id, |owner| {
            let flags = owner.flags().unwrap_or(OFlag::empty());
            owner.has_open_header() && flags.contains(OFlag::O_CLOEXEC)
        })
    }
}

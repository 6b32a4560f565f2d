//! Wrong backends whose checks of guards are wrong.

use std::sync::Arc;

use lock_core::{Capabilities, Error, GuardChecks, Manager, OpenMode, OwnerKind, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<ConfirmsALostLock>(),
        faulty::<DeniesAHeldLock>(),
        faulty::<DeniesALockOfTheProcess>(),
        faulty::<ChecksWhatItDisclaims>(),
    ]
}

#[derive(Debug)]
struct ConfirmsALostLock;

impl Fault for ConfirmsALostLock {
    const NAME: &'static str = "confirms-a-lost-lock";
    const FAULT: &'static str = "Confirms each lock for which there is a guard";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("guard_checks::a_broken_lock_is_lost", "it should have been Lost")];
    const CLAIMS: Capabilities = reference::modest::CLAIMS;
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        reference::modest::open(url, mode)
    }

    fn check_guard(_: &dyn RawLock, _: OwnerKind, _: Option<u64>) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct DeniesAHeldLock;

impl Fault for DeniesAHeldLock {
    const NAME: &'static str = "denies-a-held-lock";
    const FAULT: &'static str = "Reports each lock as lost";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("guard_checks::a_held_lock_is_confirmed", "was refused")];
    const CLAIMS: Capabilities = reference::CLAIMS.with_guard_checks(GuardChecks::Supported);
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn check_guard(_: &dyn RawLock, _: OwnerKind, _: Option<u64>) -> Result<()> {
        Err(Error::lost())
    }
}

#[derive(Debug)]
struct DeniesALockOfTheProcess;

impl Fault for DeniesALockOfTheProcess {
    const NAME: &'static str = "denies-a-lock-of-the-process";
    const FAULT: &'static str = "Compares the owner with the calling thread, also if the process owns the lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("guard_checks::a_lock_of_the_process_is_confirmed_in_each_thread", "was refused")];
    const CLAIMS: Capabilities = reference::sending::CLAIMS.with_guard_checks(GuardChecks::Supported);
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        reference::sending::open(url, mode)
    }

    fn check_guard(_: &dyn RawLock, owner: OwnerKind, _: Option<u64>) -> Result<()> {
        if owner == OwnerKind::Thread { Ok(()) } else { Err(Error::lost()) }
    }
}

#[derive(Debug)]
struct ChecksWhatItDisclaims;

impl Fault for ChecksWhatItDisclaims {
    const NAME: &'static str = "checks-what-it-disclaims";
    const FAULT: &'static str = "Confirms locks, which it disclaims";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("guard_checks::a_check_is_refused_and_the_lock_stays_held", "it should have been Unsupported")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn check_guard(_: &dyn RawLock, _: OwnerKind, _: Option<u64>) -> Result<()> {
        Ok(())
    }
}

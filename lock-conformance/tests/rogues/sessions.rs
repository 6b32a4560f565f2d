//! Wrong backends that are wrong about sessions with a server.

use std::time::Duration;

use lock_core::{Capabilities, Exclusion, OwnerKind, RawLock, Result};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![faulty::<HasNoLimit>(), faulty::<IsNeverLost>(), faulty::<LimitsALockWithoutSession>(), faulty::<AcceptsANotice>()]
}

const FENCED: Capabilities = reference::CLAIMS.with_exclusion(Exclusion::Fenced);

#[derive(Debug)]
struct HasNoLimit;

impl Fault for HasNoLimit {
    const NAME: &'static str = "has-no-limit";
    const FAULT: &'static str = "Claims sessions, but gives a lock no limit in time";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sessions::a_held_lock_is_valid_for_some_time", "its owner was told none")];
    const CLAIMS: Capabilities = FENCED;
}

#[derive(Debug)]
struct IsNeverLost;

impl Fault for IsNeverLost {
    const NAME: &'static str = "is-never-lost";
    const FAULT: &'static str = "Claims sessions, but a stopped owner keeps its lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sessions::a_stopped_owner_loses_its_lock_and_learns_of_it", "watchdog")];
    const CLAIMS: Capabilities = FENCED;

    fn valid_for(_: &dyn RawLock) -> Result<Option<Duration>> {
        Ok(Some(Duration::from_secs(1)))
    }

    fn on_lost(_: &dyn RawLock, _: OwnerKind, _: Box<dyn FnOnce() + Send>) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct LimitsALockWithoutSession;

impl Fault for LimitsALockWithoutSession {
    const NAME: &'static str = "limits-a-lock-without-session";
    const FAULT: &'static str = "Claims that its locks hold always, but gives them a limit in time";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sessions::a_lock_without_a_session_has_no_limit_in_time", "has a limit in time")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn valid_for(_: &dyn RawLock) -> Result<Option<Duration>> {
        Ok(Some(Duration::from_secs(1)))
    }
}

#[derive(Debug)]
struct AcceptsANotice;

impl Fault for AcceptsANotice {
    const NAME: &'static str = "accepts-a-notice";
    const FAULT: &'static str = "Accepts a function to call at the loss of a lock, which it never calls";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sessions::a_lock_without_a_session_has_no_limit_in_time", "it should have been Unsupported")];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn on_lost(_: &dyn RawLock, _: OwnerKind, _: Box<dyn FnOnce() + Send>) -> Result<()> {
        Ok(())
    }
}

//! Acquires the lock, and names its owner while waiting.

use std::io::{self, IsTerminal};
use std::time::Duration;

use lock_any::{Deadline, Deadlines, ErrorDetails, Guard, Lock, Store, WaitOptions, Waiting};

use crate::exit::Failure;
use crate::output;

/// Time to wait before the owner is printed.
pub(super) const NOTICE_AFTER: Duration = Duration::from_secs(1);

pub(super) fn acquire(store: &Store, lock: &Lock, conflict: u8, deadline: Deadline) -> Result<Guard<'static>, Failure> {
    let mut print_once = {
        let mut is_printed = false;
        move |waiting: &Waiting| {
            if !std::mem::replace(&mut is_printed, true) {
                output::message(format_args!("waiting for {}; {}", name(lock), waiting.held_by));
            }
        }
    };
    let mut options = WaitOptions::new().deadline(deadline);
    if io::stderr().is_terminal() && store.capabilities().deadlines == Deadlines::Monotonic {
        options = options.notify_every(NOTICE_AFTER, &mut print_once);
    }
    lock.lock_owned_with(options).map_err(|error| {
        let failure = Failure::with_conflict(&error, conflict);
        match error.details() {
            // Without a wait, the lock is busy; nothing has timed out.
            ErrorDetails::TimedOut { held_by, .. } if deadline == Deadline::Now => {
                failure.with_message(format!("{} is busy; {held_by}", name(lock)))
            }
            _ => failure,
        }
    })
}

/// The name of a lock in messages.
pub(super) fn name(lock: &Lock) -> String {
    format!("lock {}", lock.id())
}

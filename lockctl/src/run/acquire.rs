//! Acquires the lock, and names its owner while waiting.

use std::time::Duration;

use lock_any::{Deadline, Deadlines, Error, ErrorDetails, Guard, Lock, Store, WaitOptions};

use crate::cli::RunArgs;
use crate::exit::Failure;
use crate::output;

use super::ancestors;
use super::signals::Signals;

/// Time to wait before the owner is printed.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// What to do if the owner is an ancestor of this process.
const ANCESTOR: &str = ", an ancestor of this process: the wait never ends if the owner waits for this process; \
                        use another lock, or run the command without this one";

/// Returns the deadline that the options ask for.
pub(super) fn deadline(args: &RunArgs) -> Deadline {
    match args.wait {
        _ if args.nonblock => Deadline::Now,
        Some(Duration::ZERO) => Deadline::Now,
        Some(wait) => Deadline::after(wait),
        None => Deadline::Never,
    }
}

/// Acquires the lock by the deadline.
///
/// A wait prints one line that names the owner: after a second, or immediately if the owner is an ancestor of this process.
pub(super) fn acquire(
    store: &Store,
    lock: &Lock,
    args: &RunArgs,
    deadline: Deadline,
    signals: &Signals,
) -> Result<Guard<'static>, Error> {
    let wait = |deadline| {
        let options = WaitOptions::new().deadline(deadline);
        lock.lock_owned_with(match signals.cancellation() {
            Some(cancellation) => options.cancellation(cancellation),
            None => options,
        })
    };
    if args.quiet || deadline == Deadline::Now || store.capabilities().deadlines != Deadlines::Monotonic {
        return wait(deadline);
    }
    let mut is_told = false;
    for until in [Deadline::Now, Deadline::after(NOTICE_AFTER)] {
        let error = match wait(deadline.min(until)) {
            Err(error) if error.is_timed_out() && !deadline.has_passed() => error,
            result => return result,
        };
        let ErrorDetails::TimedOut { held_by, .. } = error.details() else { return Err(error) };
        let is_ancestor = held_by.holder().is_some_and(ancestors::contain);
        if !is_told && (is_ancestor || until != Deadline::Now) {
            let advice = if is_ancestor { ANCESTOR } else { "" };
            output::message(format_args!("waiting for {}; {held_by}{advice}", name(lock)));
            is_told = true;
        }
    }
    wait(deadline)
}

/// The failure of a run that did not get its lock.
pub(super) fn failure(error: &Error, lock: &Lock, args: &RunArgs, deadline: Deadline) -> Failure {
    let failure = Failure::with_conflict(error, args.conflict_exit_code);
    match error.details() {
        ErrorDetails::TimedOut { .. } if args.quiet => failure.without_message(),
        // Without a wait, the lock is busy; nothing has timed out.
        ErrorDetails::TimedOut { held_by, .. } if deadline == Deadline::Now => {
            failure.with_message(format!("{} is busy; {held_by}", name(lock)))
        }
        _ => failure,
    }
}

/// The name of a lock in messages.
pub(super) fn name(lock: &Lock) -> String {
    format!("lock {}", lock.id())
}

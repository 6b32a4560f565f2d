//! Acquires the lock, and names its owner while waiting.

use std::time::Duration;

use lock_any::{Deadline, Deadlines, Error, ErrorDetails, Guard, HeldBy, Holder, Lock, Store, WaitOptions};

use crate::exit::Failure;
use crate::output;
use crate::path_lock::{OpenFile, Refusal};

use super::args::LockOptions;

/// Time to wait before the owner is printed.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// What to do if the owner is an ancestor of this process.
const ANCESTOR: &str = ", an ancestor of this process: the wait never ends if the owner waits for this process; \
                        use another lock, or run the command without this one";

/// Acquires the lock by the deadline.
///
/// A wait prints one line that names the owner: after a second, or immediately if the owner is an ancestor of this process.
pub(super) fn acquire(store: &Store, lock: &Lock, options: &LockOptions, deadline: Deadline) -> Result<Guard<'static>, Error> {
    let wait = |deadline| lock.lock_owned_with(WaitOptions::new().deadline(deadline));
    if options.quiet || deadline == Deadline::Now || store.capabilities().deadlines != Deadlines::Monotonic {
        return wait(deadline);
    }
    let mut is_told = false;
    for until in [Deadline::Now, Deadline::after(NOTICE_AFTER)] {
        let error = match wait(deadline.min(until)) {
            Err(error) if error.is_timed_out() && !deadline.has_passed() => error,
            result => return result,
        };
        let ErrorDetails::TimedOut { held_by, .. } = error.details() else { return Err(error) };
        is_told = is_told || tell(&name(lock), held_by, until == Deadline::Now);
    }
    wait(deadline)
}

/// Prints the owner of a lock, and returns true. With `if_ancestor`, prints it only if the owner is an ancestor of this process.
fn tell(name: &str, held_by: &HeldBy, if_ancestor: bool) -> bool {
    let is_ancestor = held_by.holder().is_some_and(Holder::is_ancestor);
    if if_ancestor && !is_ancestor {
        return false;
    }
    let advice = if is_ancestor { ANCESTOR } else { "" };
    output::message(format_args!("waiting for {name}; {held_by}{advice}"));
    true
}

/// Acquires the lock of a file by the deadline, and returns the file.
pub(super) fn acquire_file(file: OpenFile, options: &LockOptions, deadline: Deadline) -> Result<OpenFile, Failure> {
    let tell = |name: &str, held_by: &HeldBy, is_first: bool| options.quiet || tell(name, held_by, is_first);
    file.acquire(deadline, NOTICE_AFTER, tell).map_err(|refusal| match refusal {
        Refusal::Busy { name, held_by } => busy(&name, &held_by, options, deadline),
        Refusal::Failed(failure) => failure,
    })
}

fn busy(name: &str, held_by: &HeldBy, options: &LockOptions, deadline: Deadline) -> Failure {
    let message = match deadline {
        // Without a wait, the lock is busy; nothing has timed out.
        Deadline::Now => format!("{name} is busy; {held_by}"),
        _ => format!("the wait for {name} timed out; {held_by}"),
    };
    let failure = Failure::with_code(options.conflict_exit_code, message);
    if options.quiet { failure.without_message() } else { failure }
}

/// The failure of a run that did not get its lock.
pub(super) fn failure(error: &Error, lock: &Lock, options: &LockOptions, deadline: Deadline) -> Failure {
    let failure = Failure::with_conflict(error, options.conflict_exit_code);
    match error.details() {
        ErrorDetails::TimedOut { .. } if options.quiet => failure.without_message(),
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

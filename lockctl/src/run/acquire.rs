//! Acquires the lock, and names its owner while waiting.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use lock_any::{Deadline, ErrorDetails, Guard, Lock};

use crate::cli::RunArgs;
use crate::exit::Failure;
use crate::output;

/// Time to wait before the owner is printed.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// Returns the deadline that the options ask for.
pub(super) fn deadline(args: &RunArgs) -> Deadline {
    match args.wait {
        _ if args.nonblock => Deadline::Now,
        Some(Duration::ZERO) => Deadline::Now,
        Some(wait) => Deadline::after(wait),
        None => Deadline::Never,
    }
}

pub(super) fn acquire(lock: &Lock, args: &RunArgs, deadline: Deadline) -> Result<Guard<'static>, Failure> {
    let _waiting = (deadline != Deadline::Now && io::stderr().is_terminal()).then(|| notify_after(NOTICE_AFTER, lock.clone()));
    lock.lock_owned_by(deadline).map_err(|error| {
        let failure = Failure::with_conflict(&error, args.conflict_exit_code);
        match error.details() {
            // Without a wait, the lock is busy; nothing has timed out.
            ErrorDetails::TimedOut { held_by, .. } if deadline == Deadline::Now => {
                failure.with_message(format!("{} is busy; {held_by}", name(lock)))
            }
            _ => failure,
        }
    })
}

/// Prints the owner of the lock after the delay, unless the returned sender is dropped earlier.
fn notify_after(delay: Duration, lock: Lock) -> Sender<()> {
    let (waiting, over) = mpsc::channel();
    thread::spawn(move || {
        if over.recv_timeout(delay) == Err(RecvTimeoutError::Timeout) {
            print_notice(&lock);
        }
    });
    waiting
}

fn print_notice(lock: &Lock) {
    output::message(format_args!("waiting for {}; {}", name(lock), lock.held_by()));
}

/// The name of a lock in messages.
pub(super) fn name(lock: &Lock) -> String {
    format!("lock {}", lock.id())
}

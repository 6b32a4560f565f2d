//! Taking the lock, and saying whom one waits for.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use lock_any::{Deadline, ErrorKind, Guard, Holder, Lock};

use crate::cli::RunArgs;
use crate::exit::Failure;
use crate::output;

/// How long a wait is before it is worth a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Until when to wait, by the options.
pub(super) fn deadline(args: &RunArgs) -> Deadline {
    match args.wait {
        _ if args.nonblock => Deadline::Now,
        Some(Duration::ZERO) => Deadline::Now,
        Some(wait) => Deadline::after(wait),
        None => Deadline::Never,
    }
}

pub(super) fn acquire(lock: &Lock, args: &RunArgs, deadline: Deadline) -> Result<Guard<'static>, Failure> {
    let _waiting = (deadline != Deadline::Now && io::stderr().is_terminal()).then(|| tell_after(PATIENCE, lock.clone()));
    lock.lock_owned_by(deadline).map_err(|error| {
        let failure = Failure::with_conflict(&error, args.conflict_exit_code);
        match error.kind() {
            // Who did not want to wait has not timed out.
            ErrorKind::TimedOut { holder } if deadline == Deadline::Now => {
                failure.saying(format!("{} is busy; {}", name(lock), held_by(holder.as_ref())))
            }
            _ => failure,
        }
    })
}

/// Says whom `lock` waits for, once, unless what it returns is dropped before.
fn tell_after(patience: Duration, lock: Lock) -> Sender<()> {
    let (waiting, over) = mpsc::channel();
    thread::spawn(move || {
        if over.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            tell(&lock);
        }
    });
    waiting
}

fn tell(lock: &Lock) {
    output::say(format_args!("waiting for {}; {}", name(lock), held_by(lock.holder().ok().flatten().as_ref())));
}

/// What a lock is called in a message.
pub(super) fn name(lock: &Lock) -> String {
    lock.id().map_or_else(|| "the lock".to_owned(), |id| format!("lock {id}"))
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "who holds it is not known".to_owned(), |holder| format!("held by {holder}"))
}

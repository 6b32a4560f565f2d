//! The command under a lock that lasts as long as a session with a server.
//!
//! If the session cannot be renewed, the lock will be lost, and another owner gets it. Before that, the command and all its descendants
//! get SIGTERM, and later SIGKILL.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use lock_any::Guard;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::output;

use super::acquire::name;
use super::signals::Forwarder;

/// Prepares this process for [`wait`]. Descendants whose parent ends become its children, so that they can be found.
pub(super) fn prepare(guard: &Guard<'_>) {
    if guard.valid_for().is_ok_and(|valid| valid.is_some()) {
        // Without it, such descendants are not ended.
        let _ = prctl::set_child_subreaper(true);
    }
}

/// Why the command has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// By itself, or by a signal that was sent to it or to lockctl.
    Own,
    /// lockctl ended it, because the lock was about to be lost.
    LockLost,
}

/// Forwards signals until the command ends. Ends the command and its descendants before the lock is lost.
pub(super) fn wait(command: &mut Forwarder<'_>, guard: &Guard<'_>) -> Ending {
    let Ok(Some(at_first)) = guard.valid_for() else {
        command.forward_until_end(None);
        return Ending::Own;
    };
    // Renewals come more often, so that this little time is left only without the server.
    let notice = at_first / 4;
    let mut ending = Ending::Own;
    loop {
        let pause = match guard.valid_for() {
            Ok(Some(remaining)) if remaining > notice => remaining - notice,
            Ok(remaining) => {
                if ending == Ending::Own {
                    ending = Ending::LockLost;
                    output::message(format_args!(
                        "{} will be lost, because its server does not answer; ending the command",
                        name(guard.lock())
                    ));
                    signal_descendants(Signal::SIGTERM);
                }
                remaining.unwrap_or(Duration::MAX)
            }
            Err(_) => {
                signal_descendants(Signal::SIGKILL);
                command.forward_until_end(None);
                return Ending::LockLost;
            }
        };
        if command.forward_until_end(Some(pause)) {
            if ending == Ending::LockLost {
                // Descendants may have ignored the signal, or started later.
                signal_descendants(Signal::SIGKILL);
            }
            return ending;
        }
    }
}

fn signal_descendants(signal: Signal) {
    let mut told = BTreeSet::new();
    // A descendant that is not signalled yet may start others.
    loop {
        let new: Vec<_> = descendants(std::process::id()).into_iter().filter(|pid| told.insert(*pid)).collect();
        if new.is_empty() {
            return;
        }
        for pid in new {
            // An error is ignored: the process may have ended.
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }
}

/// Returns the processes that descend from this one.
fn descendants(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> =
        lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    children.into_iter().flat_map(|child| std::iter::once(child).chain(descendants(child))).collect()
}

//! Signals for lockctl while it waits for a lock and while the command runs.
//!
//! No thread is needed for them. During the wait, signals have their default actions, except that an id of `--new` is freed first, and
//! that they end lockctl as PID 1, too. While the command runs, the main thread blocks all signals, receives them one by one, and
//! forwards them to the command, except those that the command has got itself because they were sent to its whole process group.
//! A signal that stops the command also stops lockctl, with the lock held, so job control works.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH, c_int};
use nix::sys::signal::SigSet;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpgid, getpid, getsid};

use crate::exit::{ExitStatus, Failure};
use crate::sys::{self, Child, IgnoredSignals, Received, Witness};

/// Time to wait before the witness is started. Most short commands have ended by then.
const WITNESS_AFTER: Duration = Duration::from_millis(5);

/// The signal handling of this process.
pub(super) struct Signals {
    /// Whether signals are caught during the wait.
    catches: bool,
    ignored: IgnoredSignals,
    /// The signals that are blocked and received while the command runs.
    received: SigSet,
    inherited_mask: SigSet,
}

impl Signals {
    /// Prepares the acquisition of a lock. With `frees_id`, a signal does not end the process, which has to free the id first.
    pub(super) fn prepare(frees_id: bool) -> Result<Self, Failure> {
        let failure = |error: nix::Error| Failure::of_call("cannot receive signals", error, ExitStatus::SYSTEM);
        let ignored = IgnoredSignals::at_start();
        let inherited_mask = SigSet::thread_get_mask().map_err(failure)?;
        sys::reset_sigchld().map_err(failure)?;
        // The default action of a signal does not end the first process of a PID namespace.
        let catches = frees_id || getpid().as_raw() == 1;
        if catches {
            sys::catch_while_waiting(frees_id);
        }
        Ok(Self { catches, ignored, received: sys::set_of_others(ignored), inherited_mask })
    }

    /// The signal that was caught since.
    pub(super) fn caught(&self) -> Option<c_int> {
        sys::caught_while_waiting()
    }

    /// The signals that were blocked when lockctl was started.
    pub(super) fn inherited_mask(&self) -> SigSet {
        self.inherited_mask
    }

    /// The signals that were ignored when lockctl was started.
    pub(super) fn ignored(&self) -> IgnoredSignals {
        self.ignored
    }

    /// Blocks the signals, so that they are received while the command runs. Called after the wait.
    pub(super) fn block(&self) -> Result<(), Failure> {
        let blocked = self.received.thread_block();
        blocked.map_err(|error| Failure::of_call("cannot receive signals", error, ExitStatus::SYSTEM))?;
        if self.catches {
            // The child has the actions of this process until it executes the command.
            sys::stop_catching();
        }
        Ok(())
    }

    /// Returns the forwarder of signals to the command, which was spawned just now.
    pub(super) fn forward_to(&self, command: &Child) -> Forwarder<'_> {
        Forwarder { signals: self, command: command.id(), witness: GroupWitness::After(Instant::now() + WITNESS_AFTER) }
    }
}

/// Forwards signals to the running command.
pub(super) struct Forwarder<'a> {
    signals: &'a Signals,
    command: Pid,
    witness: GroupWitness,
}

/// The witness of signals to the process group.
enum GroupWitness {
    /// It is not needed yet.
    After(Instant),
    Started(Witness),
    /// It could not be started, or does not answer.
    Missing,
}

impl Forwarder<'_> {
    /// Forwards signals until the command has ended, and returns true; or until the timeout, and returns false.
    ///
    /// The command stays a zombie, which reserves its pid.
    pub(super) fn forward_until_end(&mut self, timeout: Option<Duration>) -> bool {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if self.has_ended() {
                return true;
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            let left = left.into_iter().chain(self.time_until_witness()).min();
            match sys::receive(&self.signals.received, left) {
                Ok(Some(signal)) => self.handle(&signal),
                Ok(None) => {}
                // The call has no other error for a valid set. Without signals, the end of the command is still seen.
                Err(_) => self.wait_for_end(),
            }
        }
    }

    fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.command), flags) != Ok(WaitStatus::StillAlive)
    }

    fn wait_for_end(&self) {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(self.command), flags) == Err(Errno::EINTR) {}
    }

    fn handle(&mut self, signal: &Received) {
        let number = signal.number();
        // SIGCHLD tells lockctl about its children, and a write of lockctl to a closed pipe raises SIGPIPE.
        if number == SIGCHLD || number == SIGPIPE && signal.is_own() {
            return;
        }
        if !self.command_has_got(signal) {
            sys::forward(self.command, signal);
        }
        if [SIGTSTP, SIGTTIN, SIGTTOU].contains(&number) {
            sys::take_default_action(number);
        }
    }

    /// Starts the witness when its time has come. Returns the time until then.
    fn time_until_witness(&mut self) -> Option<Duration> {
        let GroupWitness::After(at) = self.witness else { return None };
        let left = at.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Some(left);
        }
        self.witness = Witness::start().map_or(GroupWitness::Missing, GroupWitness::Started);
        None
    }

    /// Whether the signal was sent to the whole process group, and so to the command, too.
    fn command_has_got(&mut self, signal: &Received) -> bool {
        // The witness is asked in any case, because it forgets the signal then.
        let witnessed = match &mut self.witness {
            GroupWitness::Started(witness) => witness.has_got(signal),
            GroupWitness::After(_) | GroupWitness::Missing => Some(false),
        };
        if witnessed.is_none() {
            self.witness = GroupWitness::Missing;
        }
        let is_to_group = if signal.is_from_kernel() { is_sent_to_groups(signal.number()) } else { witnessed == Some(true) };
        is_to_group && getpgid(Some(self.command)) == getpgid(None)
    }
}

/// Whether the kernel sends this signal to a process group. It sends others, such as SIGALRM, to one process.
///
/// A terminal sends SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU and SIGWINCH to its foreground process group. When it hangs up, the leader of the
/// session gets SIGHUP and SIGCONT alone; other processes get them with their group.
fn is_sent_to_groups(signal: c_int) -> bool {
    match signal {
        SIGINT | SIGQUIT | SIGTSTP | SIGTTIN | SIGTTOU | SIGWINCH => true,
        SIGHUP | SIGCONT => getsid(None) != Ok(getpid()),
        _ => false,
    }
}

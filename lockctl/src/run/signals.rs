//! Signals for lockctl while it waits for a lock and while the command runs.
//!
//! Every thread blocks the signals, and one thread reads them. Before the command runs, a signal has its default action, after an id
//! of `--new` is freed. While the command runs, lockctl forwards signals to it, except those that the terminal sends to the whole
//! foreground process group, which includes the command. SIGTSTP also stops lockctl, with the lock held, so job control works.

use std::fs;
use std::io;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::{Pid, getpgid};

use crate::exit::{ExitStatus, Failure};
use crate::sys;

/// The forwarded signals. SIGTTIN and SIGTTOU are not among them, because lockctl does not use the terminal.
const FORWARDED: [Signal; 13] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
    Signal::SIGCONT,
];

/// The signal handling of this process.
pub(super) struct Signals {
    source: Arc<SignalFd>,
    phase: Arc<Mutex<Phase>>,
    inherited_mask: SigSet,
}

/// The state of lockctl.
enum Phase {
    Waiting,
    Running(Pid),
    Ending,
}

impl Signals {
    /// Blocks the signals, except those that were ignored when lockctl was started. Called before a second thread starts.
    pub(super) fn take() -> Result<Self, Failure> {
        let failure = |error: nix::Error| Failure::of_call("cannot receive signals", error, ExitStatus::SYSTEM);
        let ignored = ignored();
        let set: SigSet = FORWARDED.into_iter().filter(|&signal| ignored >> (signal as i32 - 1) & 1 == 0).collect();
        sys::reset_sigchld().map_err(failure)?;
        let inherited_mask = SigSet::thread_get_mask().map_err(failure)?;
        set.thread_block().map_err(failure)?;
        let source = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(failure)?;
        Ok(Self { source: Arc::new(source), phase: Arc::new(Mutex::new(Phase::Waiting)), inherited_mask })
    }

    /// The signals that were blocked when lockctl was started.
    pub(super) fn inherited_mask(&self) -> SigSet {
        self.inherited_mask
    }

    /// Starts the thread that reads signals. It calls `last` before a signal ends lockctl.
    pub(super) fn watch(&self, last: impl Fn() + Send + 'static) -> Result<(), Failure> {
        let (source, phase) = (Arc::clone(&self.source), Arc::clone(&self.phase));
        let watch = move || {
            loop {
                match source.read_signal() {
                    Ok(Some(info)) => {
                        if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                            receive(signal, &info, &phase, &last);
                        }
                    }
                    Err(Errno::EINTR) => {}
                    Ok(None) | Err(_) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(watch);
        thread.map(drop).map_err(|error| Failure::of_call("cannot start a thread", error, ExitStatus::SYSTEM))
    }

    /// Spawns the command. Signals that arrive during the spawn are forwarded afterwards.
    pub(super) fn forward_to(&self, spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let mut phase = locked(&self.phase);
        let spawned = spawn();
        *phase = match &spawned {
            Ok(child) => Phase::Running(Pid::from_raw(child.id() as i32)),
            Err(_) => Phase::Ending,
        };
        spawned
    }

    /// Stops forwarding, after the command has ended.
    pub(super) fn stop_forwarding(&self) {
        *locked(&self.phase) = Phase::Ending;
    }
}

/// Returns the mask of ignored signals. `nohup` ignores SIGHUP, and a shell ignores SIGINT for background commands.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn receive(signal: Signal, info: &siginfo, phase: &Mutex<Phase>, last: &impl Fn()) {
    let phase = locked(phase);
    match *phase {
        Phase::Running(child) => {
            if !was_sent_by_terminal(info, child) {
                // An error is ignored: the command may have ended. It is not reaped, so its pid is not reused.
                let _ = kill(child, signal);
            }
            if signal == Signal::SIGTSTP {
                // This thread stops here, and the mutex must not stay locked meanwhile.
                drop(phase);
                take_default_action(signal);
            }
        }
        Phase::Waiting => {
            drop(phase);
            if !matches!(signal, Signal::SIGTSTP | Signal::SIGCONT | Signal::SIGWINCH) {
                last();
            }
            take_default_action(signal);
        }
        Phase::Ending => {}
    }
}

/// Whether the terminal sent the signal, and so to the command, too.
fn was_sent_by_terminal(info: &siginfo, child: Pid) -> bool {
    const SI_KERNEL: i32 = 0x80;
    info.ssi_code == SI_KERNEL && getpgid(Some(child)) == getpgid(None)
}

/// Takes the default action of the signal.
fn take_default_action(signal: Signal) {
    let only: SigSet = [signal].into_iter().collect();
    // All other threads block the signal, so the kernel delivers it here.
    if raise(signal).is_ok() && only.thread_unblock().is_ok() {
        let _ = only.thread_block();
    }
}

fn locked(phase: &Mutex<Phase>) -> MutexGuard<'_, Phase> {
    phase.lock().unwrap_or_else(PoisonError::into_inner)
}

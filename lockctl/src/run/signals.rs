//! Signals for lockctl while it waits for a lock and while the command runs.
//!
//! All that matter are blocked in every thread, and one thread reads them. Before the command runs, a signal does what it does by
//! default, after an id of our own is given back. While it runs, a signal goes to the command, but for those that the terminal sends
//! to the whole foreground process group: the command has had those already. Stopping stops lockctl, too, with the lock
//! held, so that job control works.

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

/// What is forwarded. SIGTTIN and SIGTTOU are left alone, as lockctl does not touch the terminal.
const OURS: [Signal; 13] = [
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

/// The signals of this process.
pub(super) struct Signals {
    source: Arc<SignalFd>,
    phase: Arc<Mutex<Phase>>,
    outside: SigSet,
}

/// What lockctl is doing.
enum Phase {
    Waiting,
    Running(Pid),
    Ending,
}

impl Signals {
    /// Blocks the signals, but for those that whoever started lockctl had ignored; called while there is one thread.
    pub(super) fn take() -> Result<Self, Failure> {
        let failure = |error: nix::Error| Failure::of_call("cannot receive signals", error, ExitStatus::SYSTEM);
        let ignored = ignored();
        let set: SigSet = OURS.into_iter().filter(|&signal| ignored >> (signal as i32 - 1) & 1 == 0).collect();
        sys::heed_children().map_err(failure)?;
        let outside = SigSet::thread_get_mask().map_err(failure)?;
        set.thread_block().map_err(failure)?;
        let source = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(failure)?;
        Ok(Self { source: Arc::new(source), phase: Arc::new(Mutex::new(Phase::Waiting)), outside })
    }

    /// The signals that were blocked when lockctl was started.
    pub(super) fn outside(&self) -> SigSet {
        self.outside
    }

    /// Reads signals from now on; one that ends lockctl before the command runs calls `last` first.
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

    /// Spawns the command; no signal comes between that and being forwarded to it.
    pub(super) fn forward_to(&self, spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        let mut phase = locked(&self.phase);
        let spawned = spawn();
        *phase = match &spawned {
            Ok(child) => Phase::Running(Pid::from_raw(child.id() as i32)),
            Err(_) => Phase::Ending,
        };
        spawned
    }

    /// The command has ended: signals are of no use any more.
    pub(super) fn forward_no_more(&self) {
        *locked(&self.phase) = Phase::Ending;
    }
}

/// The signals that are ignored, as a mask: `nohup` ignores SIGHUP, a shell SIGINT of what it starts in the background.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn receive(signal: Signal, info: &siginfo, phase: &Mutex<Phase>, last: &impl Fn()) {
    let phase = locked(phase);
    match *phase {
        Phase::Running(child) => {
            if !has_it_already(info, child) {
                // It may just have ended; it is not reaped, so its pid is not another's.
                let _ = kill(child, signal);
            }
            if signal == Signal::SIGTSTP {
                // Signals have to be read again after that, so the lock on the phase must not be kept.
                drop(phase);
                by_default(signal);
            }
        }
        Phase::Waiting => {
            drop(phase);
            if !matches!(signal, Signal::SIGTSTP | Signal::SIGCONT | Signal::SIGWINCH) {
                last();
            }
            by_default(signal);
        }
        Phase::Ending => {}
    }
}

/// Whether the terminal has sent the signal, and so to the command as well.
fn has_it_already(info: &siginfo, child: Pid) -> bool {
    const SI_KERNEL: i32 = 0x80;
    info.ssi_code == SI_KERNEL && getpgid(Some(child)) == getpgid(None)
}

/// Does what the signal does to a program that does not care about signals.
fn by_default(signal: Signal) {
    let only: SigSet = [signal].into_iter().collect();
    // This thread is the only one that lets it through.
    if raise(signal).is_ok() && only.thread_unblock().is_ok() {
        let _ = only.thread_block();
    }
}

fn locked(phase: &Mutex<Phase>) -> MutexGuard<'_, Phase> {
    phase.lock().unwrap_or_else(PoisonError::into_inner)
}

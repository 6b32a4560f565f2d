//! Signals for the live view. The main loop restores the terminal before it takes the default action of a signal.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};

use super::terminal;

const RECEIVED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGCONT];

/// The time in which the main loop should end. It may hang in output to a terminal that is stopped or gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Blocks the signals, except those that were ignored when lockctl was started, and starts a thread that hands them to `send`. Called
/// before another thread starts.
pub(crate) fn receive(send: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    let ignored = ignored();
    let set: SigSet = RECEIVED.into_iter().filter(|&signal| ignored >> (signal as i32 - 1) & 1 == 0).collect();
    set.thread_block()?;
    let receive = move || {
        while let Ok(signal) = set.wait() {
            send(signal);
            if !matches!(signal, Signal::SIGTSTP | Signal::SIGCONT) {
                thread::sleep(PATIENCE);
                // Output would hang here, too.
                terminal::restore_modes();
                take_default_action(signal);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(receive).map(drop)
}

/// Takes the default action of the signal.
pub(crate) fn take_default_action(signal: Signal) {
    let only: SigSet = [signal].into_iter().collect();
    // All other threads block the signal, so the kernel delivers it here.
    if raise(signal).is_ok() && only.thread_unblock().is_ok() {
        let _ = only.thread_block();
    }
}

/// Returns the mask of ignored signals. `nohup` ignores SIGHUP, and a shell ignores SIGINT for background commands.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

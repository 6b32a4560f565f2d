//! Signals for the live view. The main loop restores the terminal before it takes the default action of a signal.

use std::io;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::terminal;
use crate::sys::{self, IgnoredSignals};

const RECEIVED: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGCONT];

/// The time in which the main loop should end. It may hang in output to a terminal that is stopped or gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// Blocks the signals, except those that were ignored when lockctl was started (`nohup` ignores SIGHUP), and starts a thread that hands them to `send`. Called
/// before another thread starts.
pub(crate) fn receive(send: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    let ignored = IgnoredSignals::at_start();
    let set: SigSet = RECEIVED.into_iter().filter(|&signal| !ignored.contains(signal as i32)).collect();
    set.thread_block()?;
    let receive = move || {
        while let Ok(signal) = set.wait() {
            send(signal);
            if !matches!(signal, Signal::SIGTSTP | Signal::SIGCONT) {
                thread::sleep(PATIENCE);
                // Output would hang here, too.
                terminal::restore_modes();
                sys::take_default_action(signal as i32);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(receive).map(drop)
}

//! The terminal: raw mode and the alternate screen, and the way back.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Stdout};
use std::mem::ManuallyDrop;
use std::panic;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// The exit code of a panic, as of one in the main thread.
const PANIC: i32 = 101;

/// Returns whether stdout is a terminal that understands cursor motions, and keys can be read.
pub(crate) fn has_screen() -> bool {
    let knows_motions = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    io::stdout().is_terminal() && knows_motions && (io::stdin().is_terminal() || File::open("/dev/tty").is_ok())
}

/// A terminal in raw mode with the alternate screen. It is restored on drop, and when a thread panics.
pub(crate) struct Screen {
    /// Not dropped: its destructor writes to stderr if the terminal was closed, and panics when this fails.
    pub(crate) terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    _restore: Restore,
}

impl Screen {
    /// Prepares the terminal.
    pub(crate) fn enter() -> io::Result<Self> {
        let earlier = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            earlier(info);
            // Otherwise other threads would draw on the restored terminal.
            std::process::exit(PANIC);
        }));
        enable_raw_mode()?;
        let restore = Restore;
        Ok(Self { terminal: prepare()?, _restore: restore })
    }

    /// Prepares the terminal again after [`restore`], or after another program has changed it.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        // `enable_raw_mode` does nothing if it was called before.
        disable_raw_mode()?;
        enable_raw_mode()?;
        self.terminal = prepare()?;
        Ok(())
    }
}

struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        restore();
    }
}

/// Returns an empty screen.
fn prepare() -> io::Result<ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>> {
    execute!(io::stdout(), EnterAlternateScreen, Hide, Clear(ClearType::All))?;
    Terminal::new(CrosstermBackend::new(io::stdout())).map(ManuallyDrop::new)
}

/// Restores the terminal. Errors are ignored, because the terminal may be closed.
pub(crate) fn restore() {
    restore_modes();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
}

/// Restores the modes of the terminal, without any output.
pub(crate) fn restore_modes() {
    let _ = disable_raw_mode();
}

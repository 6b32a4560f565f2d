//! A running `lockctl watch` and its terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{FlowArg, Termios, tcflow, tcgetattr};

use crate::scratch::Scratch;

/// The time after which an output that does not come is a failure, in milliseconds.
const PATIENCE: u16 = 60_000;

/// A running `lockctl watch` and its terminal.
pub(crate) struct Watched {
    pub(crate) child: Child,
    master: Option<File>,
    slave: OwnedFd,
    modes: Termios,
    output: Vec<u8>,
}

impl Watched {
    /// Starts the view with a terminal of 100 columns and 30 lines as its controlling one.
    pub(crate) fn start(scratch: &Scratch, args: &[&str]) -> Self {
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        // Otherwise the child keeps its own terminal from hanging up.
        fcntl(&pty.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        let terminal = || Stdio::from(pty.slave.try_clone().unwrap());
        // setsid executes lockctl in its own process, because it is not the leader of a process group.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_lockctl"), "watch"]).args(args);
        command.env("LOCKCTL_STORE", scratch.url()).env("TERM", "xterm").env_remove("NO_COLOR");
        command.stdin(terminal()).stdout(terminal()).stderr(terminal());
        let modes = tcgetattr(&pty.slave).unwrap();
        let child = command.spawn().expect("setsid of util-linux");
        Self { child, master: Some(pty.master.into()), slave: pty.slave, modes, output: Vec::new() }
    }

    /// Types keys.
    pub(crate) fn keys(&mut self, keys: &str) {
        self.master.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Sets the size of the terminal, which sends SIGWINCH.
    pub(crate) fn resize(&self, rows: &str, columns: &str) {
        let slave = self.slave.try_clone().unwrap();
        assert!(Command::new("stty").args(["rows", rows, "cols", columns]).stdin(slave).status().unwrap().success());
    }

    /// Reads until the output contains the text, and returns the output. Spaces and escape sequences are left out.
    pub(crate) fn await_text(&mut self, text: &str) -> String {
        let text: String = text.split_whitespace().collect();
        loop {
            let shown = shown(&self.output);
            if shown.contains(&text) {
                self.output.clear();
                return shown;
            }
            assert!(self.read(PATIENCE), "{text} is not in {shown}");
        }
    }

    /// Reads until the output contains these bytes.
    pub(crate) fn await_bytes(&mut self, bytes: &str) {
        while !String::from_utf8_lossy(&self.output).contains(bytes) {
            assert!(self.read(PATIENCE), "{bytes:?} is not in {:?}", String::from_utf8_lossy(&self.output));
        }
    }

    /// Stops the output of the terminal, as Control-S does.
    pub(crate) fn stop_output(&self) {
        tcflow(&self.slave, FlowArg::TCOOFF).unwrap();
    }

    /// Closes the side of the terminal emulator.
    pub(crate) fn hang_up(mut self) -> ExitStatus {
        self.master = None;
        self.child.wait().unwrap()
    }

    /// Waits for the end, and checks that the terminal is as before.
    pub(crate) fn end(mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        while self.read(0) {}
        let output = String::from_utf8_lossy(&self.output).into_owned();
        // The alternate screen is left, and the cursor shown.
        for (on, off) in [("\u{1b}[?1049h", "\u{1b}[?1049l"), ("\u{1b}[?25l", "\u{1b}[?25h")] {
            assert!(output.rfind(off) > output.rfind(on), "{output:?}");
        }
        assert_eq!(tcgetattr(&self.slave).unwrap(), self.modes);
        status
    }

    /// Returns whether the terminal is as before the start.
    pub(crate) fn is_cooked(&self) -> bool {
        tcgetattr(&self.slave).unwrap() == self.modes
    }

    /// Reads some output. Returns false if there is none in this time.
    fn read(&mut self, milliseconds: u16) -> bool {
        let master = self.master.as_mut().unwrap();
        let mut descriptors = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut descriptors, PollTimeout::from(milliseconds)).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        let count = master.read(&mut bytes).unwrap();
        self.output.extend_from_slice(&bytes[..count]);
        true
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // After a failed assertion.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Removes escape sequences and spaces. A cell that does not change is not written, so spaces are not all there.
fn shown(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    let mut text = String::new();
    let mut characters = output.chars();
    while let Some(character) = characters.next() {
        if character != '\u{1b}' {
            text.extend((!character.is_whitespace()).then_some(character));
        } else if characters.next() == Some('[') {
            // Parameters and intermediate characters precede the last one.
            characters.by_ref().find(|character| ('@'..='~').contains(character));
        }
    }
    text
}

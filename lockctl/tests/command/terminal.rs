//! Output to a terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use nix::pty::openpty;

use crate::scratch::Scratch;

#[test]
fn a_wait_of_a_second_prints_the_owner() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let pty = openpty(None, None).unwrap();
    // The temporary `Command`, which keeps the terminal open in this process, is dropped after `spawn`.
    let mut waiter = scratch.lockctl(&["run", "3", "--", "true"]).stderr(pty.slave).spawn().unwrap();
    let mut terminal = BufReader::new(File::from(pty.master));
    let mut line = String::new();
    terminal.read_line(&mut line).unwrap();
    assert!(line.starts_with(&format!("lockctl: waiting for lock 3; held by pid {} (", held.pid())), "{line}");
    held.release();
    assert_eq!(waiter.wait().unwrap().code(), Some(0));
    // The other side is closed: the read fails with EIO, and the output has ended.
    let mut rest = String::new();
    let _ = terminal.read_to_string(&mut rest);
    assert_eq!(rest, "");
}

#[test]
fn titles_are_bold_on_a_terminal_without_no_color() {
    let scratch = Scratch::with_store();
    for (no_color, bold) in [("", true), ("1", false)] {
        let pty = openpty(None, None).unwrap();
        let mut list = scratch.lockctl(&["list"]);
        list.env("NO_COLOR", no_color).env("TERM", "xterm").stdout(Stdio::from(pty.slave));
        let mut child = list.spawn().unwrap();
        // The `Command` keeps the terminal open in this process.
        drop(list);
        let mut text = Vec::new();
        let _ = File::from(pty.master).read_to_end(&mut text);
        assert!(child.wait().unwrap().success());
        assert_eq!(text.contains(&0x1b), bold, "{}", String::from_utf8_lossy(&text));
    }
}

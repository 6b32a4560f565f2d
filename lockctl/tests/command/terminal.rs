//! What is different on a terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use nix::pty::openpty;

use crate::scratch::Scratch;

#[test]
fn who_waits_longer_than_a_second_is_told_for_whom() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let pty = openpty(None, None).unwrap();
    // The description of the command, which keeps the terminal open in this process, goes at once.
    let mut waiter = scratch.lockctl(&["run", "3", "--", "true"]).stderr(pty.slave).spawn().unwrap();
    let mut terminal = BufReader::new(File::from(pty.master));
    let mut line = String::new();
    terminal.read_line(&mut line).unwrap();
    assert!(line.starts_with(&format!("lockctl: waiting for lock 3; held by pid {} (", held.pid())), "{line}");
    held.let_go();
    assert_eq!(waiter.wait().unwrap().code(), Some(0));
    // The other side is closed: EIO, and nothing more was said.
    let mut rest = String::new();
    let _ = terminal.read_to_string(&mut rest);
    assert_eq!(rest, "");
}

#[test]
fn titles_are_bold_on_a_terminal_unless_colours_are_not_wanted() {
    let scratch = Scratch::with_store();
    for (no_color, bold) in [("", true), ("1", false)] {
        let pty = openpty(None, None).unwrap();
        let mut list = scratch.lockctl(&["list"]);
        list.env("NO_COLOR", no_color).env("TERM", "xterm").stdout(Stdio::from(pty.slave));
        let mut child = list.spawn().unwrap();
        // What keeps the terminal open in this process goes with the command's description.
        drop(list);
        let mut text = Vec::new();
        let _ = File::from(pty.master).read_to_end(&mut text);
        assert!(child.wait().unwrap().success());
        assert_eq!(text.contains(&0x1b), bold, "{}", String::from_utf8_lossy(&text));
    }
}

//! Output to a terminal.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use nix::pty::{Winsize, openpty};

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

/// Returns the lines of a command on a terminal of this width.
fn lines_on_a_terminal(scratch: &Scratch, args: &[&str], columns: Option<&str>, width: u16) -> Vec<String> {
    let size = Winsize { ws_row: 24, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    let mut list = scratch.lockctl(args);
    list.env("NO_COLOR", "1").env_remove("COLUMNS").stdout(Stdio::from(pty.slave));
    list.envs(columns.map(|columns| ("COLUMNS", columns)));
    let mut child = list.spawn().unwrap();
    drop(list);
    let mut text = Vec::new();
    let _ = File::from(pty.master).read_to_end(&mut text);
    assert!(child.wait().unwrap().success());
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_listing_is_cut_to_the_terminal_unless_it_is_wide() {
    let scratch = Scratch::with_store();
    let label = "x".repeat(64);
    scratch.ok(&["allocate", "--label", &label]);
    let longest = |lines: &[String]| lines.iter().map(|line| line.chars().count()).max().unwrap();
    for (columns, width, limit) in [(None, 100, 100), (Some("70"), 100, 70), (None, 0, 80), (Some("none"), 90, 90)] {
        let lines = lines_on_a_terminal(&scratch, &["list"], columns, width);
        assert!((limit - 15..=limit).contains(&longest(&lines)), "{columns:?} {width}: {lines:?}");
        assert!(lines[1].contains('…') && !lines[1].contains(&label), "{lines:?}");
    }
    let lines = lines_on_a_terminal(&scratch, &["list", "--wide"], None, 80);
    assert!(longest(&lines) > 80 && lines[1].contains(&label), "{lines:?}");
    // Another program reads the whole table.
    assert!(scratch.ok(&["list"]).contains(&label));
}

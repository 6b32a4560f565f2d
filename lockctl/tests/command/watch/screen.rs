//! The live view on a terminal.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fight::Fight;
use super::pty::Watched;
use crate::scratch::Scratch;

/// The option for a short time between two readings.
const OFTEN: &[&str] = &["--interval", "0.1"];

#[test]
fn the_view_draws_the_locks_and_q_restores_the_terminal() {
    let scratch = Scratch::with_store();
    scratch.ok(&["allocate", "3", "--label", "pod web"]);
    let held = scratch.hold("3");
    let mut watched = Watched::start(&scratch, OFTEN);
    let shown = watched.await_text("q quit");
    for text in ["1held", "COMMAND", &format!("3held{}lockctlrun3", held.pid()), "podweb", &scratch.url()] {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    assert!(!watched.is_cooked());
    watched.keys("q");
    assert_eq!(watched.end().code(), Some(0));
    held.release();
}

#[test]
fn a_released_lock_disappears_and_a_new_one_appears() {
    let scratch = Scratch::with_store();
    let mut watched = Watched::start(&scratch, OFTEN);
    watched.await_text("no lock is held");
    let held = scratch.hold("7");
    watched.await_text(&format!("7 held {}", held.pid()));
    held.release();
    watched.await_text("no lock is held");
    // Control-C.
    watched.keys("\u{3}");
    assert_eq!(watched.end().code(), Some(0));
}

#[test]
fn keys_filter_explain_and_pause() {
    let scratch = Scratch::with_store();
    let held = scratch.hold("3");
    let mut watched = Watched::start(&scratch, OFTEN);
    watched.await_text("q quit");
    watched.keys("d");
    watched.await_text(&format!("lock 3 is held by pid {} (", held.pid()));
    watched.keys("/nothing like it\r");
    watched.await_text("no lock matches the filter");
    // The first Esc clears the filter.
    watched.keys("\u{1b}");
    watched.await_text(&format!("3 held {}", held.pid()));
    watched.keys("p");
    watched.await_text("PAUSED");
    held.release();
    watched.keys("p");
    watched.await_text("no lock is held");
    watched.keys("?");
    watched.await_text("this help");
    watched.keys("qq");
    assert_eq!(watched.end().code(), Some(0));
}

#[test]
fn the_view_fills_a_terminal_that_is_resized() {
    let scratch = Scratch::with_store();
    // The reading after the first one is far away: only the resize makes it draw.
    let mut watched = Watched::start(&scratch, &["--interval", "3600"]);
    watched.await_text("q quit");
    for (rows, columns) in [("40", "120"), ("5", "20"), ("1", "1"), ("24", "80")] {
        watched.resize(rows, columns);
        watched.await_bytes(&format!("\u{1b}[{rows};1H"));
    }
    watched.await_text("q quit");
    watched.keys("q");
    assert_eq!(watched.end().code(), Some(0));
}

#[test]
fn a_signal_restores_the_terminal_and_ends_the_view() {
    let scratch = Scratch::with_store();
    let mut watched = Watched::start(&scratch, OFTEN);
    watched.await_text("q quit");
    kill(Pid::from_raw(watched.child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(watched.end().signal(), Some(15));
}

#[test]
fn a_signal_ends_the_view_also_if_the_output_is_stopped() {
    let scratch = Scratch::with_store();
    let mut watched = Watched::start(&scratch, OFTEN);
    watched.await_text("q quit");
    watched.stop_output();
    // The view hangs in drawing this.
    watched.keys("?");
    kill(Pid::from_raw(watched.child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(watched.child.wait().unwrap().signal(), Some(15));
    assert!(watched.is_cooked());
}

#[test]
fn a_closed_terminal_ends_the_view() {
    let scratch = Scratch::with_store();
    let mut watched = Watched::start(&scratch, OFTEN);
    watched.await_text("q quit");
    let status = watched.hang_up();
    // SIGHUP of the kernel, if the caller of the tests has not ignored it, or the error.
    assert!(status.signal() == Some(1) || status.code() == Some(74), "{status:?}");
}

#[test]
fn the_lock_of_a_stopped_holder_is_on_top() {
    let scratch = Scratch::with_store();
    let fight = Fight::start(&scratch);
    for id in [3, 1] {
        let pid = fight.stop_holder(&scratch, id);
        let mut watched = Watched::start(&scratch, &["--interval", "0.1", "--wait", "3600", "--hold", "3600"]);
        let shown = watched.await_text(&format!("{id} stopped {pid}"));
        let title = shown.find("COMMAND").expect("titles");
        let row = shown.find(&format!("{id}stopped{pid}")).expect("the row");
        let between = &shown[title..row];
        assert!(!between.contains("lockctlrun"), "{shown}");
        watched.keys("q");
        assert_eq!(watched.end().code(), Some(0));
        kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
    }
}

#[test]
fn a_terminal_without_cursor_motions_gets_lines() {
    let scratch = Scratch::with_store();
    let mut watched = Watched::start(&scratch, &["--plain"]);
    watched.await_text("0 locks held or waited for, 0 in trouble");
    assert!(watched.is_cooked());
    // Control-C is a signal here. The caller of the tests may have ignored it.
    kill(Pid::from_raw(watched.child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(watched.child.wait().unwrap().signal(), Some(15));
}

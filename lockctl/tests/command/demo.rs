//! `demo`, which leaves no file behind, also when it is killed.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;

use crate::scratch::{CommandOutput, Scratch, lockctl, output_of};

fn demo(scratch: &Scratch) -> Command {
    lockctl(&["demo", "--scratch", scratch.path().to_str().unwrap()])
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn the_demo_counts_correctly_while_owners_are_killed() {
    let scratch = Scratch::new();
    let CommandOutput { code, out, err } = output_of(&mut demo(&scratch));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let row = out.lines().find(|line| line.split_whitespace().next() == Some("shm")).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    let number = |at: usize| cells[at].parse::<u64>().unwrap();
    let (expected, found, killed, recovered) = (number(3), number(4), number(5), number(6));
    assert!(expected > 0 && expected == found, "{out}");
    assert!(killed > 0 && killed == recovered, "{out}");
    assert!(is_empty(scratch.path()));
}

#[rstest]
#[case(Signal::SIGKILL)]
#[case(Signal::SIGTERM)]
fn a_killed_demo_leaves_no_file(#[case] signal: Signal) {
    let scratch = Scratch::new();
    let mut child = demo(&scratch).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    await_count(&mut child, scratch.path());
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    // Its processes inherit this pipe, so it closes when the last of them has ended.
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(is_empty(scratch.path()), "{err}");
}

/// Waits until the workers of the demo have incremented the counter of a backend.
fn await_count(child: &mut Child, scratch: &Path) {
    loop {
        assert!(child.try_wait().unwrap().is_none(), "the demo has ended");
        let demos = fs::read_dir(scratch).unwrap().flatten();
        let backends = demos.flat_map(|demo| fs::read_dir(demo.path()).into_iter().flatten().flatten());
        let mut counts = backends.filter_map(|backend| fs::read(backend.path().join("counter")).ok());
        if counts.any(|count| count.iter().any(|byte| *byte != 0)) {
            return;
        }
        std::thread::yield_now();
    }
}

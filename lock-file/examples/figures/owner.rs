//! The other process: it holds the lock and lets go of it in some way.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lock_core::{Guard, Result, Store};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::{now, open};

/// Obeys lines on the standard input: `lock`, and `release`, which is answered with the moment before it.
pub(crate) fn run(role: &str, scratch: &Path) -> Result<()> {
    let store = open(scratch)?;
    let lock = store.retrieve(0)?;
    let (mut guard, mut foreign): (Option<Guard<'_>>, Option<File>) = (None, None);
    for line in io::stdin().lock().lines() {
        match (line.expect("text").as_str(), role) {
            ("lock", "ours") => guard = Some(lock.lock()?),
            // As one whose process has waited with a deadline before, which leaves something behind for the kernel to clean up.
            ("lock", "waited") => guard = Some(lock.try_lock_for(Duration::from_secs(60))?),
            ("lock", _) => foreign = Some(lock_by_hand(&file_of(&store))),
            ("release", _) => {
                let moment = now();
                drop((guard.take(), foreign.take()));
                println!("{}", moment.as_nanos());
                continue;
            }
            _ => break,
        }
        println!("held");
    }
    Ok(())
}

/// What a foreign program does that shares the file.
fn lock_by_hand(path: &Path) -> File {
    let file = File::options().read(true).write(true).open(path).expect("the lock's file");
    let range = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLKW(&range)).expect("the lock");
    file
}

fn file_of(store: &Store) -> PathBuf {
    let locks = store.details().into_iter().find(|(title, _)| *title == "lock files").expect("a store has lock files").1;
    Path::new(&locks).join("00/0")
}

/// Such a process, seen from outside.
pub(crate) struct Owner {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Owner {
    pub(crate) fn start(role: &str, scratch: &Path) -> Self {
        let mut command = Command::new("/proc/self/exe");
        let mut child = command.arg(role).arg(scratch).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, answers }
    }

    pub(crate) fn say(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().expect("it is piped"), "{word}").expect("it listens");
    }

    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("text");
        line.trim().to_owned()
    }

    pub(crate) fn kill(&mut self) -> Duration {
        let moment = now();
        self.child.kill().expect("it is ours");
        moment
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

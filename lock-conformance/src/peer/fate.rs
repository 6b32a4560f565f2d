//! The ways in which a thread of a peer ends, or becomes something else.

use std::ffi::CString;
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::{Command, abort, exit};
use std::thread;
use std::time::Duration;

use lock_core::{Error, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, Uid, gettid, setgroups, setresgid, setresuid};

use super::worker::{Next, Worker};
use super::{PEER_COMMAND, VARIABLE};
use crate::protocol::{Answer, Fields, join};
use crate::sys;

impl Worker {
    pub(super) fn meet_its_fate(&mut self, verb: &str, arguments: &[&str]) -> Option<Next> {
        Some(match (verb, arguments) {
            ("exit", []) => exit(0),
            ("abort", []) => abort(),
            ("leak", [lock]) => {
                mem::forget(self.guards.remove(*lock));
                Next::Continue(Ok(Fields::new()))
            }
            ("end", []) => {
                self.guards.drain().for_each(|(_, guard)| mem::forget(guard));
                self.peer.answer(self.tag, &Answer::Done(Fields::new().with("tid", gettid())));
                Next::Break(())
            }
            ("exec", [name]) => {
                let words = join([&self.peer.socket, self.peer.suite.name(), name]);
                let error = Command::new("/proc/self/exe")
                    .arg0(PEER_COMMAND)
                    .args([self.peer.suite.name(), name])
                    .env(VARIABLE, words)
                    .exec();
                Next::Continue(Err(Error::system("exec", error)))
            }
            ("fork", [name]) => Next::Continue(self.fork(name)),
            ("fork_apart", [name]) => Next::Continue(apart().and_then(|()| self.fork(name))),
            ("mount_small", [directory, bytes]) => Next::Continue(mount_small(directory, bytes)),
            ("become_nobody", []) => Next::Continue(become_nobody()),
            ("storm", [tid]) => Next::Continue(storm(tid)),
            ("ping", []) => Next::Continue(Ok(Fields::new().with("tid", gettid()))),
            _ => return None,
        })
    }

    fn fork(&mut self, name: &str) -> Result<Fields> {
        match self.peer.fork().map_err(|errno| Error::system("fork", errno))? {
            Some(child) => Ok(Fields::new().with("pid", child)),
            None => {
                let Ok((peer, commands)) = self.peer.reborn(name) else { sys::exit_now(4) };
                self.peer = peer;
                self.reborn = Some(commands);
                // The command was the parent's: nobody waits for this answer.
                self.tag = 0;
                Ok(Fields::new())
            }
        }
    }
}

/// Lets the next child of this process be the first of a new pid namespace.
fn apart() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| Error::system("unshare", errno))
}

/// Puts a small file system over the directory, for this thread alone.
fn mount_small(directory: &str, bytes: &str) -> Result<Fields> {
    let directory = CString::new(directory).expect("a path has no NUL in it");
    sys::mount_tmpfs_apart(&directory, bytes.parse().expect("a size")).map_err(|error| Error::system("mount", error))?;
    Ok(Fields::new())
}

/// Gives up all rights.
fn become_nobody() -> Result<Fields> {
    let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
    setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user))
        .map_err(|errno| Error::system("setresuid", errno))?;
    Ok(Fields::new())
}

/// Interrupts a thread of this process ten thousand times a second, until it ends.
fn storm(tid: &str) -> Result<Fields> {
    let tid = Pid::from_raw(tid.parse().expect("a thread id"));
    sys::interrupt_on(Signal::SIGUSR1).map_err(|errno| Error::system("sigaction", errno))?;
    thread::spawn(move || {
        while sys::signal_thread(tid, Signal::SIGUSR1) {
            thread::sleep(Duration::from_micros(100));
        }
    });
    Ok(Fields::new())
}

//! The ways in which a thread of a peer ends, or becomes something else.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::process::{Command, abort, exit};
use std::time::Duration;
use std::{fs, mem};

use lock_core::{Error, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{Gid, Pid, Uid, gettid, setgroups, setresgid, setresuid, setsid};

use super::worker::{Next, Worker};
use super::{PEER_COMMAND, VARIABLE};
use crate::protocol::{Answer, Fields, join};
use crate::sys::LAST_PID;
use crate::sys::{self, Fork};

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
            ("fork", [name]) => Next::Continue(self.fork(name, Fork::Libc)),
            ("fork_without_handlers", [name]) => Next::Continue(self.fork(name, Fork::WithoutHandlers)),
            ("fork_by_system_call", [name]) => Next::Continue(self.fork(name, Fork::SystemCall)),
            ("fork_apart", [name]) => Next::Continue(apart().and_then(|()| self.fork(name, Fork::Libc))),
            ("fork_in_user_namespace", [name]) => Next::Continue(self.fork_in_user_namespace(name)),
            ("fork_with_pid", [name, pid]) => Next::Continue(next_pid(pid).and_then(|()| self.fork(name, Fork::Libc))),
            ("limit", [resource, most]) => Next::Continue(limit(resource, most)),
            ("mount_small", [directory, bytes]) => Next::Continue(mount_small(directory, bytes)),
            ("setsid", []) => Next::Continue(setsid().map(|_| Fields::new()).map_err(|errno| Error::system("setsid", errno))),
            ("become_nobody", []) => Next::Continue(become_nobody()),
            ("storm", [tid]) => Next::Continue(storm(tid)),
            ("signals", []) => Next::Continue(Ok(Fields::new().with("count", sys::interruptions()))),
            ("ping", []) => Next::Continue(Ok(Fields::new().with("tid", gettid()))),
            _ => return None,
        })
    }

    fn fork(&mut self, name: &str, fork: Fork) -> Result<Fields> {
        let forked = self.peer.fork(fork).map_err(|errno| Error::system("fork", errno))?;
        match forked {
            Some(child) => {
                self.take_back();
                Ok(Fields::new().with("pid", child))
            }
            None => Ok(self.be_reborn(name)),
        }
    }

    /// Only a process with one thread may enter a user namespace: so a child does, whose own child is the first of a new pid namespace.
    fn fork_in_user_namespace(&mut self, name: &str) -> Result<Fields> {
        match self.peer.fork(Fork::Libc).map_err(|errno| Error::system("fork", errno))? {
            Some(child) => Ok(Fields::new().with("pid", child)),
            None => {
                let inside = sys::enter_user_namespace(CloneFlags::CLONE_NEWPID).is_ok().then(sys::fork);
                match inside {
                    Some(Ok(None)) => Ok(self.be_reborn(name)),
                    Some(Ok(Some(child))) => {
                        let _ = waitpid(child, None);
                        sys::exit_now(0)
                    }
                    Some(Err(_)) | None => sys::exit_now(4),
                }
            }
        }
    }

    /// In a forked child: goes on as a peer of its own.
    pub(super) fn be_reborn(&mut self, name: &str) -> Fields {
        let Ok((peer, commands)) = self.peer.reborn(name) else { sys::exit_now(4) };
        self.peer = peer;
        self.reborn = Some(commands);
        // The command was the parent's: nobody waits for this answer.
        self.tag = 0;
        Fields::new()
    }
}

/// Lets the next child of this process, which is the first of its pid namespace, have this pid.
fn next_pid(pid: &str) -> Result<()> {
    let pid: i32 = pid.parse().expect("a pid");
    // A child of that pid, which is dead or dying, keeps it until it was waited for.
    let _ = waitpid(Pid::from_raw(pid), None);
    fs::write(LAST_PID, (pid - 1).to_string()).map_err(|error| Error::system("write ns_last_pid", error))
}

/// Sets one of the limits of this process: to a number; to what it uses already and so much more ("+N"); or back ("back").
fn limit(resource: &str, most: &str) -> Result<Fields> {
    let resource = match resource {
        "files" => Resource::RLIMIT_NOFILE,
        "file_size" => Resource::RLIMIT_FSIZE,
        "address_space" => Resource::RLIMIT_AS,
        other => panic!("there is no limit on {other:?}"),
    };
    let (_, hard) = getrlimit(resource).map_err(|errno| Error::system("getrlimit", errno))?;
    let soft = match (most, most.strip_prefix('+')) {
        ("back", _) => hard,
        (_, Some(more)) => address_space()? + more.parse::<u64>().expect("a number"),
        (_, None) => most.parse().expect("a number"),
    };
    setrlimit(resource, soft.min(hard), hard).map_err(|errno| Error::system("setrlimit", errno))?;
    Ok(Fields::new())
}

/// The bytes of address space that this process uses.
fn address_space() -> Result<u64> {
    let facts = fs::read_to_string("/proc/self/statm").map_err(|error| Error::system("read /proc/self/statm", error))?;
    let pages: u64 = facts.split_whitespace().next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
    Ok(pages * 4096)
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

/// Interrupts a thread of this process ten thousand times a second, until the process ends.
fn storm(tid: &str) -> Result<Fields> {
    let thread = tid.parse().expect("a thread id");
    let begin = || {
        sys::interrupt_on(Signal::SIGUSR1)?;
        sys::signal_every(Signal::SIGUSR1, thread, Duration::from_micros(100))
    };
    begin().map_err(|errno| Error::system("timer_create", errno))?;
    Ok(Fields::new())
}

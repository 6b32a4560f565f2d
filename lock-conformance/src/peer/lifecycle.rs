//! Commands that end a thread or its process, fork, execute a program, or change limits and rights.

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
    pub(super) fn change_process(&mut self, verb: &str, arguments: &[&str]) -> Option<Next> {
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
            None => Ok(self.become_peer(name)),
        }
    }

    /// Forks a peer that is the first process of a new PID namespace, in a new user namespace.
    ///
    /// Only a single-threaded process may enter a user namespace. A forked child therefore enters it, and forks the peer.
    fn fork_in_user_namespace(&mut self, name: &str) -> Result<Fields> {
        match self.peer.fork(Fork::Libc).map_err(|errno| Error::system("fork", errno))? {
            Some(child) => Ok(Fields::new().with("pid", child)),
            None => {
                let inside = sys::enter_user_namespace(CloneFlags::CLONE_NEWPID).is_ok().then(sys::fork);
                match inside {
                    Some(Ok(None)) => Ok(self.become_peer(name)),
                    Some(Ok(Some(child))) => {
                        let _ = waitpid(child, None);
                        sys::exit_now(0)
                    }
                    Some(Err(_)) | None => sys::exit_now(4),
                }
            }
        }
    }

    /// Makes a forked child a separate peer.
    pub(super) fn become_peer(&mut self, name: &str) -> Fields {
        let Ok((peer, commands)) = self.peer.reconnect(name) else { sys::exit_now(4) };
        self.peer = peer;
        self.new_commands = Some(commands);
        // The command was sent to the parent, so the suite does not wait for an answer of the child.
        self.tag = 0;
        Fields::new()
    }
}

/// Makes the kernel use this pid for the next child. This process is the first of its PID namespace.
fn next_pid(pid: &str) -> Result<()> {
    let pid: i32 = pid.parse().expect("a pid");
    // A dead or dying child with this pid keeps it until it is reaped.
    let _ = waitpid(Pid::from_raw(pid), None);
    fs::write(LAST_PID, (pid - 1).to_string()).map_err(|error| Error::system("write ns_last_pid", error))
}

/// Sets a resource limit: a number, the present usage plus a number ("+N"), or the hard limit ("back").
fn limit(resource: &str, most: &str) -> Result<Fields> {
    let resource = match resource {
        "files" => Resource::RLIMIT_NOFILE,
        "file_size" => Resource::RLIMIT_FSIZE,
        "address_space" => Resource::RLIMIT_AS,
        other => panic!("unknown resource {other:?}"),
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

/// Returns the size of this process's address space, in bytes.
fn address_space() -> Result<u64> {
    let facts = fs::read_to_string("/proc/self/statm").map_err(|error| Error::system("read /proc/self/statm", error))?;
    let pages: u64 = facts.split_whitespace().next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
    Ok(pages * 4096)
}

/// Makes the next child the first process of a new PID namespace.
fn apart() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| Error::system("unshare", errno))
}

/// Mounts a small file system over the directory, visible to this thread only.
fn mount_small(directory: &str, bytes: &str) -> Result<Fields> {
    let directory = CString::new(directory).expect("a path contains no NUL");
    sys::mount_tmpfs_apart(&directory, bytes.parse().expect("a size")).map_err(|error| Error::system("mount", error))?;
    Ok(Fields::new())
}

/// Gives up all privileges.
fn become_nobody() -> Result<Fields> {
    let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
    setgroups(&[])
        .and_then(|()| setresgid(group, group, group))
        .and_then(|()| setresuid(user, user, user))
        .map_err(|errno| Error::system("setresuid", errno))?;
    Ok(Fields::new())
}

/// Interrupts a thread of this process 10,000 times per second, until the process ends.
fn storm(tid: &str) -> Result<Fields> {
    let thread = tid.parse().expect("a thread id");
    let begin = || {
        sys::interrupt_on(Signal::SIGUSR1)?;
        sys::signal_every(Signal::SIGUSR1, thread, Duration::from_micros(100))
    };
    begin().map_err(|errno| Error::system("timer_create", errno))?;
    Ok(Fields::new())
}

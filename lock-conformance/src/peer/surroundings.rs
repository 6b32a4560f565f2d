//! Commands that change the user, the namespaces and the mounts of a thread.
//!
//! Namespaces other than those of users belong to a thread. A case therefore uses the main thread alone, and the threads that a
//! backend starts from there inherit them.

use std::fs::{self, File};
use std::io::{self, Write};

use lock_core::{Error, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_dumpable;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::worker::{Next, Worker};
use crate::protocol::Fields;
use crate::sys;

impl Worker {
    pub(super) fn change_surroundings(&mut self, verb: &str, arguments: &[&str]) -> Option<Next> {
        let done = match (verb, arguments) {
            ("fork_into_user_namespace", [name]) => return Some(Next::Continue(self.fork_into_user_namespace(name))),
            ("own_mounts", []) => own_mounts().map_err(|errno| Error::system("unshare(CLONE_NEWNS)", errno)),
            ("own_ipc", []) => unshare(CloneFlags::CLONE_NEWIPC).map_err(|errno| Error::system("unshare(CLONE_NEWIPC)", errno)),
            ("mount", [kind, target, options]) => mount_new(kind, target, options).map_err(|errno| Error::system("mount", errno)),
            ("become", [user, groups @ ..]) => become_user(user, groups).map_err(|errno| Error::system("setresuid", errno)),
            ("deny_dumps", []) => set_dumpable(false).map_err(|errno| Error::system("prctl(PR_SET_DUMPABLE)", errno)),
            ("fill", [file]) => fill(file).map_err(|error| Error::system("write", error)),
            ("remove_file", [file]) => fs::remove_file(file).map_err(|error| Error::system("unlink", error)),
            ("deny_file_locks", []) => sys::deny_file_locks().map_err(|error| Error::system("seccomp", error)),
            _ => return None,
        };
        Some(Next::Continue(done.map(|()| Fields::new())))
    }

    /// Forks a peer that enters a user namespace, which only a single-threaded process can do.
    fn fork_into_user_namespace(&mut self, name: &str) -> Result<Fields> {
        match self.peer.fork(sys::Fork::Libc).map_err(|errno| Error::system("fork", errno))? {
            Some(child) => Ok(Fields::new().with("pid", child)),
            None if sys::enter_user_namespace(CloneFlags::empty()).is_ok() => Ok(self.become_peer(name)),
            None => sys::exit_now(4),
        }
    }
}

/// Creates a file that fills its file system.
fn fill(file: &str) -> io::Result<()> {
    let mut file = File::create_new(file)?;
    loop {
        match file.write(&[1; 4096]) {
            Ok(1..) => {}
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Moves this thread to a new mount namespace, so that later mounts are visible to it alone.
pub(crate) fn own_mounts() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
}

/// Mounts a new file system over the target.
pub(crate) fn mount_new(kind: &str, target: &str, options: &str) -> Result<(), Errno> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(options))
}

/// Gives up all privileges except those of this user, of the group with the same number, and of these groups.
fn become_user(number: &str, groups: &[&str]) -> Result<(), Errno> {
    let groups: Vec<_> = groups.iter().map(|group| Gid::from_raw(group.parse().expect("a group's number"))).collect();
    let number = number.parse().expect("a user's number");
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    setgroups(&groups)?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    // The kernel denies dumps of a process that changes its user. A process that this user starts allows them.
    set_dumpable(true)
}

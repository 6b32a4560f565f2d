//! A terminal for a command. Unlike that of `openpty(3)`, no child of another test inherits it.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;

/// The two ends of a terminal. Dropping `master` hangs it up.
pub(crate) struct Pty {
    pub(crate) master: File,
    pub(crate) slave: OwnedFd,
}

impl Pty {
    pub(crate) fn open() -> Self {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = open(ptsname_r(&master).unwrap().as_str(), flags, Mode::empty()).unwrap();
        Self { master: File::from(OwnedFd::from(master)), slave }
    }
}

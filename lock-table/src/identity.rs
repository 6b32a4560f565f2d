//! What identifies a process, and what the system says of it.
//!
//! Within one PID namespace the kernel answers without `/proc`, whatever hides it and whoever's the process is: `pidfd_open` fails
//! with ESRCH if there is no such process, and the descriptor's inode (from Linux 6.9 on) or the start time identifies the process that there
//! is. What cannot be seen proves nothing.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::fstatfs;
use nix::unistd::Pid;

use crate::boot;
use crate::procfs::{self, PF_EXITING, stat_field};
use crate::sys;
use lock_core::PerProcess;
use lock_core::{Cause, Result};

/// Whether a process or a thread lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// It lives, or is not proved to be dead.
    Lives,
    /// It is proved to be dead to the store.
    Ended(Cause),
    /// Nothing can be said.
    Unknown,
}

/// What identifies a process, 0 for what is not known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// A number for the boot of the system.
    pub(crate) boot: u32,
    /// In clock ticks since boot.
    pub(crate) start_time: u64,
    /// The inode of the PID namespace.
    pub(crate) namespace: u64,
    /// The inode of its pidfds, where the kernel has one for each process.
    pub(crate) pidfd_inode: u64,
    /// Its command line, for people to read.
    pub(crate) command: String,
    /// The program's name, without its directory and arguments.
    pub(crate) program: String,
}

/// A process that there is.
struct Process {
    pidfd: OwnedFd,
}

impl Identity {
    /// The calling process, read once.
    pub(crate) fn of_this_process() -> Result<&'static Self> {
        static OWN: PerProcess<Identity> = PerProcess::new();
        OWN.get_or_try_init(|| Ok(Self::read()))
    }

    fn read() -> Self {
        let pid = std::process::id();
        let pidfd = sys::pidfd_open(pid).ok();
        let inode = pidfd.as_ref().and_then(pidfd_inode).unwrap_or(0);
        let (program, arguments) = command();
        // The link leads to the caller's own namespace, whichever procfs this is.
        let namespace = fs::metadata("/proc/self/ns/pid")
            .ok()
            .or_else(|| sys::pid_namespace_of(pidfd.as_ref()?.as_fd()).ok()?.metadata().ok());
        Self {
            pid,
            boot: boot_number(boot::id()),
            start_time: start_time("/proc/self/stat").unwrap_or(0),
            namespace: namespace.map_or(0, |meta| meta.ino()),
            pidfd_inode: inode,
            command: format!("{program}{arguments}"),
            program,
        }
    }

    /// Whether the process is in this PID namespace, and that is known.
    pub(crate) fn is_in_namespace(&self, namespace: u64) -> bool {
        namespace != 0 && self.namespace == namespace
    }

    /// What the system says of the process.
    pub(crate) fn life(&self) -> Life {
        match self.find() {
            Ok(_) => Life::Lives,
            Err(life) => life,
        }
    }

    /// The process, if it lives and can be seen.
    fn find(&self) -> Result<Process, Life> {
        let Ok(me) = Self::of_this_process() else { return Err(Life::Unknown) };
        if self.boot != 0 && me.boot != 0 && self.boot != me.boot {
            return Err(Life::Ended(Cause::ProcessEnded));
        }
        if self.pid == 0 || self.namespace == 0 || self.namespace != me.namespace {
            return Err(Life::Unknown);
        }
        let pidfd = match sys::pidfd_open(self.pid) {
            Ok(pidfd) => pidfd,
            // Not there, or the id of a thread of another process by now.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return Err(Life::Ended(Cause::ProcessEnded)),
            Err(_) => return Err(self.life_without_pidfd()),
        };
        let process = Process { pidfd };
        if process.has_exited() {
            return Err(Life::Ended(Cause::ProcessEnded));
        }
        let same = match (self.pidfd_inode, pidfd_inode(&process.pidfd)) {
            (expected @ 1.., Some(inode)) => Some(inode == expected),
            _ => process
                .directory()
                .and_then(|directory| start_time(&format!("{directory}/stat")))
                .map(|time| time == self.start_time),
        };
        match same {
            Some(true) => Ok(process),
            Some(false) => Err(Life::Ended(Cause::ProcessEnded)),
            None => Err(Life::Unknown),
        }
    }

    /// Where the system has no pidfds, or no descriptor is left.
    fn life_without_pidfd(&self) -> Life {
        match nix::sys::signal::kill(Pid::from_raw(self.pid.cast_signed()), None) {
            Err(Errno::ESRCH) => Life::Ended(Cause::ProcessEnded),
            _ => Life::Unknown,
        }
    }

    /// What is known of a thread of the process.
    pub(crate) fn life_of_thread(&self, tid: u32) -> Life {
        let process = match self.find() {
            Ok(process) => process,
            Err(life) => return life,
        };
        let missing = sys::thread_exists(self.pid, tid) == Err(Errno::ESRCH);
        // If the process ended meanwhile, its id may have been another's when it was asked for.
        if missing && !process.has_exited() { Life::Ended(Cause::ThreadEnded) } else { Life::Lives }
    }

    /// What is known of a process that is there, and whose liveness lock is gone: it lives, unless it maps the file at this address of
    /// the caller's no more.
    pub(crate) fn has_executed(&self, address: usize) -> Life {
        let process = match self.find() {
            Ok(process) => process,
            Err(life) => return life,
        };
        match process.maps(address) {
            None | Some(Maps::SameFile) => Life::Lives,
            Some(Maps::OtherFiles) if !process.has_exited() => Life::Ended(Cause::Executed),
            Some(_) => Life::Ended(Cause::ProcessEnded),
        }
    }

    /// Whether it is certain, after the end of one of its threads, that the process neither ends nor executes another program.
    /// `address` is in the caller's mapping of a file that the process maps, too.
    pub(crate) fn lives_on(&self, address: usize) -> bool {
        let is_this_one = |me: &Self| (self.pid, self.start_time, self.namespace) == (me.pid, me.start_time, me.namespace);
        if Self::of_this_process().is_ok_and(is_this_one) {
            return true;
        }
        let Ok(process) = self.find() else { return false };
        process.directory().is_some_and(|directory| procfs::has_idle_thread(&directory))
            && matches!(process.maps(address), Some(Maps::SameFile))
    }

    /// Whether every thread of the process is on its way out, and runs no more of its program.
    pub(crate) fn is_dying(&self) -> bool {
        let Ok(process) = self.find() else { return false };
        let Some(tasks) = process.directory().and_then(|directory| fs::read_dir(format!("{directory}/task")).ok()) else {
            return false;
        };
        let flags = tasks.map(|task| stat_field(&task.ok()?.path().join("stat").to_string_lossy(), 9));
        flags
            .fold(None, |all, flags| Some(all.unwrap_or(true) && flags.is_some_and(|flags| flags & PF_EXITING != 0)))
            .unwrap_or(false)
    }
}

impl Process {
    /// True for a zombie, too.
    fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// What the process maps, compared with the file that the caller maps at `address`; `None` where that is not visible.
    fn maps(&self, address: usize) -> Option<Maps> {
        let ours = mappings("/proc/self/maps")?.find(|mapping| mapping.contains(address))?;
        let mut theirs = mappings(&format!("{}/maps", self.directory()?))?.peekable();
        if theirs.peek().is_none() {
            return Some(Maps::Nothing);
        }
        Some(if theirs.any(|mapping| mapping.is_of_same_file(&ours)) { Maps::SameFile } else { Maps::OtherFiles })
    }

    /// Its directory under `/proc`, where that is visible. The kernel tells its id in the namespace of whichever procfs is there.
    fn directory(&self) -> Option<String> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.pidfd.as_raw_fd())).ok()?;
        let pid: u32 = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
        (pid != 0).then(|| format!("/proc/{pid}"))
    }
}

/// The inode of a pidfd, where it is the process's alone.
fn pidfd_inode(pidfd: &OwnedFd) -> Option<u64> {
    const PID_FS_MAGIC: u64 = 0x5049_4446;
    let kind = fstatfs(pidfd).ok()?.filesystem_type();
    if kind.0 as u64 != PID_FS_MAGIC {
        return None;
    }
    nix::sys::stat::fstat(pidfd).ok().map(|stat| stat.st_ino)
}

/// 0 where the boot is not known.
fn boot_number(boot: u128) -> u32 {
    let folded = (boot ^ (boot >> 64)) as u64;
    (folded ^ (folded >> 32)) as u32
}

fn start_time(stat: &str) -> Option<u64> {
    stat_field(stat, 22)
}

/// The mappings of a process, compared with a file.
enum Maps {
    /// No mapping at all: the process is exiting.
    Nothing,
    /// The process maps the file.
    SameFile,
    /// The process has mappings, and none of the file.
    OtherFiles,
}

/// A line of `/proc/PID/maps`.
struct Mapping {
    range: std::ops::Range<usize>,
    device: String,
    inode: u64,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let parse = |number| usize::from_str_radix(number, 16).ok();
        let (device, inode) = (fields.nth(2)?.to_owned(), fields.next()?.parse().ok()?);
        Some(Self { range: parse(start)?..parse(end)?, device, inode })
    }

    fn contains(&self, address: usize) -> bool {
        self.range.contains(&address)
    }

    fn is_of_same_file(&self, other: &Self) -> bool {
        (&self.device, self.inode) == (&other.device, other.inode)
    }
}

/// The mappings of a process; `None` where they are not visible.
fn mappings(path: &str) -> Option<impl Iterator<Item = Mapping> + use<>> {
    let mut lines = BufReader::new(File::open(path).ok()?).lines().peekable();
    // The file opens where reading it is refused.
    if matches!(lines.peek(), Some(Err(_))) {
        return None;
    }
    Some(lines.map_while(std::io::Result::ok).filter_map(|line| Mapping::parse(&line)))
}

/// The command line in two parts: the program without its directory, since there is not room for everything, and the arguments, each after
/// a blank.
fn command() -> (String, String) {
    let line = fs::read("/proc/self/cmdline").unwrap_or_default();
    let line = String::from_utf8_lossy(line.strip_suffix(b"\0").unwrap_or(&line));
    let (program, arguments) = line.split_at(line.find('\0').unwrap_or(line.len()));
    (program.rsplit('/').next().unwrap_or_default().to_owned(), arguments.replace('\0', " "))
}

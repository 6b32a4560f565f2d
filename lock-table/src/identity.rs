//! The identity of a process, and its state according to the kernel.
//!
//! For a process in the same PID namespace this works without `/proc`, for any user. `pidfd_open(2)` fails with ESRCH if the process does
//! not exist. If it exists, the inode of the pidfd (since Linux 6.9) or the start time identifies it. Missing information is not a proof
//! of death.

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
use crate::{sys, thread};
use lock_core::PerProcess;
use lock_core::{Cause, Holder, Result};

/// The state of a process or a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LifeState {
    /// It is alive, or at least not proven to be dead.
    Alive,
    /// It is proven to be dead, or to have executed another program.
    Dead(Cause),
    /// Its state cannot be determined.
    Unknown,
}

/// The identity of a process. Unknown fields are 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// A hash of the boot id.
    pub(crate) boot: u32,
    /// In clock ticks since boot.
    pub(crate) start_time: u64,
    /// The inode of the PID namespace.
    pub(crate) namespace: u64,
    /// The inode of its pidfds, on kernels with one inode per process (since Linux 6.9).
    pub(crate) pidfd_inode: u64,
    /// The command line, for display.
    pub(crate) command: String,
    /// The name of the program, without directory and arguments.
    pub(crate) program: String,
}

/// Describes the calling process, for a backend that records holders. No thread is given.
pub fn this_process() -> Holder {
    Identity::of_this_process().map_or_else(|_| Identity::read().describe(), Identity::describe)
}

/// A process that was found by its identity.
struct Process {
    pidfd: OwnedFd,
}

impl Identity {
    /// Returns the identity of the calling process, which is read once.
    pub(crate) fn of_this_process() -> Result<&'static Self> {
        static OWN: PerProcess<Identity> = PerProcess::new();
        OWN.get_or_try_init(|| Ok(Self::read()))
    }

    /// Describes the process. No thread is given.
    fn describe(&self) -> Holder {
        let known = |number: u64| Some(number).filter(|number| *number != 0);
        let mut holder = Holder::of_process(self.pid).with_command(self.command.clone());
        holder.start_time = known(self.start_time);
        holder.pid_namespace = known(self.namespace);
        holder
    }

    fn read() -> Self {
        let pid = std::process::id();
        let pidfd = sys::pidfd_open(pid).ok();
        let inode = pidfd.as_ref().and_then(pidfd_inode).unwrap_or(0);
        let (program, arguments) = command();
        // The link leads to the namespace of the caller, even if `/proc` belongs to another PID namespace.
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

    /// Returns true if the process is known to be in this PID namespace.
    pub(crate) fn is_in_namespace(&self, namespace: u64) -> bool {
        namespace != 0 && self.namespace == namespace
    }

    /// Returns the state of the process.
    pub(crate) fn life_state(&self) -> LifeState {
        match self.find() {
            Ok(_) => LifeState::Alive,
            Err(life) => life,
        }
    }

    /// Finds the process, or returns the state that prevents it.
    fn find(&self) -> Result<Process, LifeState> {
        let Ok(me) = Self::of_this_process() else { return Err(LifeState::Unknown) };
        if self.boot != 0 && me.boot != 0 && self.boot != me.boot {
            return Err(LifeState::Dead(Cause::ProcessEnded));
        }
        if self.pid == 0 || self.namespace == 0 || self.namespace != me.namespace {
            return Err(LifeState::Unknown);
        }
        let pidfd = match sys::pidfd_open(self.pid) {
            Ok(pidfd) => pidfd,
            // The process does not exist. EINVAL or ENOENT mean that the id is that of a thread.
            Err(Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => return Err(LifeState::Dead(Cause::ProcessEnded)),
            Err(_) => return Err(self.life_without_pidfd()),
        };
        let process = Process { pidfd };
        if process.has_exited() {
            return Err(LifeState::Dead(Cause::ProcessEnded));
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
            Some(false) => Err(LifeState::Dead(Cause::ProcessEnded)),
            None => Err(LifeState::Unknown),
        }
    }

    /// Returns the state of the process when no pidfd can be opened.
    fn life_without_pidfd(&self) -> LifeState {
        match nix::sys::signal::kill(Pid::from_raw(self.pid.cast_signed()), None) {
            Err(Errno::ESRCH) => LifeState::Dead(Cause::ProcessEnded),
            _ => LifeState::Unknown,
        }
    }

    /// Returns the state of a thread of the process.
    pub(crate) fn thread_life_state(&self, tid: u32) -> LifeState {
        let process = match self.find() {
            Ok(process) => process,
            Err(life) => return life,
        };
        let missing = !thread::exists(self.pid, tid);
        // If the process has exited, its id may have been reused before the query.
        if missing && !process.has_exited() { LifeState::Dead(Cause::ThreadEnded) } else { LifeState::Alive }
    }

    /// Returns the state of an existing process whose liveness lock is not held.
    ///
    /// The process is alive if it still maps the store's file. `address` is in the caller's mapping of the file.
    pub(crate) fn has_executed(&self, address: usize) -> LifeState {
        let process = match self.find() {
            Ok(process) => process,
            Err(life) => return life,
        };
        match process.maps(address) {
            None | Some(Maps::SameFile) => LifeState::Alive,
            Some(Maps::OtherFiles) if !process.has_exited() => LifeState::Dead(Cause::Executed),
            Some(_) => LifeState::Dead(Cause::ProcessEnded),
        }
    }

    /// Returns true if the process certainly continues after the end of one of its threads.
    ///
    /// It then neither exits nor executes another program. `address` is in the caller's mapping of a file that the process also maps.
    pub(crate) fn outlives_thread(&self, address: usize) -> bool {
        let is_this_process = |me: &Self| (self.pid, self.start_time, self.namespace) == (me.pid, me.start_time, me.namespace);
        if Self::of_this_process().is_ok_and(is_this_process) {
            return true;
        }
        let Ok(process) = self.find() else { return false };
        process.directory().is_some_and(|directory| procfs::has_idle_thread(&directory))
            && matches!(process.maps(address), Some(Maps::SameFile))
    }

    /// Returns true if every thread of the process is exiting and no longer executes the program.
    pub(crate) fn is_exiting(&self) -> bool {
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
    /// Returns true if the process has exited, also if it is a zombie.
    fn has_exited(&self) -> bool {
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// Compares the mappings of the process with the file that the caller maps at `address`.
    ///
    /// Returns `None` if they are not visible.
    fn maps(&self, address: usize) -> Option<Maps> {
        let ours = mappings("/proc/self/maps")?.find(|mapping| mapping.contains(address))?;
        let mut theirs = mappings(&format!("{}/maps", self.directory()?))?.peekable();
        if theirs.peek().is_none() {
            return Some(Maps::Nothing);
        }
        Some(if theirs.any(|mapping| mapping.is_of_same_file(&ours)) { Maps::SameFile } else { Maps::OtherFiles })
    }

    /// Returns the directory of the process in `/proc`, if it is visible.
    ///
    /// `fdinfo` has the process id in the namespace of that `/proc`.
    fn directory(&self) -> Option<String> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.pidfd.as_raw_fd())).ok()?;
        let pid: u32 = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
        (pid != 0).then(|| format!("/proc/{pid}"))
    }
}

/// Returns the inode of a pidfd, on kernels with one inode per process.
fn pidfd_inode(pidfd: &OwnedFd) -> Option<u64> {
    const PID_FS_MAGIC: u64 = 0x5049_4446;
    let kind = fstatfs(pidfd).ok()?.filesystem_type();
    if kind.0 as u64 != PID_FS_MAGIC {
        return None;
    }
    nix::sys::stat::fstat(pidfd).ok().map(|stat| stat.st_ino)
}

/// Returns a hash of a boot id, and 0 for the id 0.
fn boot_number(boot: u128) -> u32 {
    let folded = (boot ^ (boot >> 64)) as u64;
    (folded ^ (folded >> 32)) as u32
}

fn start_time(stat: &str) -> Option<u64> {
    stat_field(stat, 22)
}

/// The result of comparing the mappings of a process with a file.
enum Maps {
    /// The process has no mapping: it is exiting.
    Nothing,
    /// The process maps the file.
    SameFile,
    /// The process maps only other files.
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

/// Returns the mappings in a file `/proc/PID/maps`, or `None` if they are not visible.
fn mappings(path: &str) -> Option<impl Iterator<Item = Mapping> + use<>> {
    let mut lines = BufReader::new(File::open(path).ok()?).lines().peekable();
    // Opening the file can succeed when reading it is not permitted.
    if matches!(lines.peek(), Some(Err(_))) {
        return None;
    }
    Some(lines.map_while(std::io::Result::ok).filter_map(|line| Mapping::parse(&line)))
}

/// Returns the command line in two parts: the program, and the arguments with a blank before each.
///
/// The directory of the program is removed to save space.
fn command() -> (String, String) {
    let line = procfs::read("/proc/self/cmdline").unwrap_or_default();
    let line = String::from_utf8_lossy(line.strip_suffix(b"\0").unwrap_or(&line));
    let (program, arguments) = line.split_at(line.find('\0').unwrap_or(line.len()));
    (program.rsplit('/').next().unwrap_or_default().to_owned(), arguments.replace('\0', " "))
}

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::file::FileId;

/// The result of a search of `/proc`, and the processes that it could not examine.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Found<T> {
    /// The findings.
    pub found: Vec<T>,
    /// The processes that could not be examined. `None` if all were.
    pub unseen: Option<Unseen>,
}

/// Processes that a search could not examine. It is displayed with the rights that are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Unseen {
    /// The number of processes whose files in `/proc` could not be read.
    pub denied: usize,
    /// True if `/proc` hides the processes of other users (`hidepid`).
    pub hidden: bool,
    /// True if `/proc` does not show the calling process, because it belongs to another PID namespace or is not mounted.
    pub elsewhere: bool,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.elsewhere {
            return f.write_str("/proc does not show this process; mount the /proc of its PID namespace");
        }
        match (self.denied, self.hidden) {
            (0, _) => f.write_str("/proc hides the processes of other users")?,
            (1, false) => f.write_str("1 process could not be examined")?,
            (denied, false) => write!(f, "{denied} processes could not be examined")?,
            (denied, true) => write!(f, "{denied} processes could not be examined, and /proc hides those of other users")?,
        }
        f.write_str("; run as root, with all capabilities")
    }
}

/// A part of a file that a process has mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The offset in the file.
    pub(crate) offset: u64,
}

/// Returns the parts of the file that a process has mapped.
///
/// # Errors
/// The error of reading the memory map.
pub(crate) fn mappings(pid: u32, file: &FileId) -> io::Result<Vec<Mapping>> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    Ok(String::from_utf8_lossy(&maps).lines().filter_map(|line| mapping(line, file)).collect())
}

/// Parses a line such as `7fc0382d8000-7fc0382ed000 rw-s 00000000 00:1a 2 /dev/shm/libpod_lock`.
fn mapping(line: &str, file: &FileId) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let (_protection, offset, device, inode) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let path = fields.next().map(str::trim_start);
    if !file.is_named(device, inode, path) {
        return None;
    }
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping { start: number(start)?, end: number(end)?, offset: number(offset)? })
}

/// Calls a function for each process, which returns its findings, and collects them.
///
/// A process that ends meanwhile has no findings.
pub(crate) fn processes<T>(mut examine: impl FnMut(u32) -> io::Result<Vec<T>>) -> Found<T> {
    let is_missing = |process| !Path::new(process).exists();
    let mut unseen = Unseen { denied: 0, hidden: is_missing("/proc/1"), elsewhere: is_missing("/proc/self") };
    let mut found = Vec::new();
    for pid in numbers("/proc") {
        match examine(pid) {
            Ok(more) => found.extend(more),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unseen.denied += 1,
            Err(_) => {}
        }
    }
    Found { found, unseen: Some(unseen).filter(|unseen| *unseen != Unseen::default()) }
}

/// Returns the numbers among the names in a directory.
pub(crate) fn numbers(directory: impl AsRef<Path>) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A system call in which a thread sleeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) number: libc::c_long,
    pub(crate) arguments: [u64; 3],
}

impl Call {
    /// Reads the system call of a thread. `None` if it does not sleep in one.
    ///
    /// # Errors
    /// The error of reading it, mostly for want of rights.
    pub(crate) fn of(pid: u32, tid: u32) -> io::Result<Option<Self>> {
        let line = fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"))?;
        Ok(Self::parse(&line))
    }

    /// Returns whether the call is a sleep on a word, whose expected value is the third argument.
    pub(crate) fn is_futex_wait(self) -> bool {
        let operation = self.arguments[1] as i32 & libc::FUTEX_CMD_MASK;
        self.number == libc::SYS_futex && [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET].contains(&operation)
    }

    /// Parses a line such as `202 0x7fc0382d8040 0x0 0x80005450 0x0 0x0 0x0 0x7ffd 0x7f12`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let number = fields.next()?.parse().ok().filter(|number| *number >= 0)?;
        let mut argument = || u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok();
        Some(Self { number, arguments: [argument()?, argument()?, argument()?] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_call_is_parsed_and_other_states_are_none() {
        let call = Call::parse("202 0x7fc0382d8040 0x0 0x80005450 0x0 0x0 0x0 0x7ffd 0x7f12\n");
        assert_eq!(call, Some(Call { number: 202, arguments: [0x7fc0382d8040, 0, 0x8000_5450] }));
        for other in ["running\n", "-1 0x7ffd 0x7f12\n", ""] {
            assert_eq!(Call::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_mapping_is_recognized_by_device_and_inode() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let id = FileId::of(file.path()).unwrap();
        let meta = file.as_file().metadata().unwrap();
        let (device, inode) = (std::os::unix::fs::MetadataExt::dev(&meta), std::os::unix::fs::MetadataExt::ino(&meta));
        let path = file.path().display();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let found = Some(Mapping { start: 0x1000, end: 0x3000, offset: 0x2000 });
        let line = |device: &str, inode: u64, path: &str| format!("1000-3000 rw-s 00002000 {device} {inode}      {path}");
        let device = format!("{major:02x}:{minor:02x}");
        assert_eq!(mapping(&line(&device, inode, "/elsewhere"), &id), found);
        assert_eq!(mapping(&line("ff:ff", inode, "/elsewhere"), &id), None);
        assert_eq!(mapping(&line(&device, inode + 1, &path.to_string()), &id), None);
        assert_eq!(mapping("1000-3000 rw-p 00000000 00:00 0", &id), None);
    }

    #[test]
    fn what_is_unseen_is_displayed_with_the_missing_rights() {
        assert_eq!(
            Unseen { denied: 3, ..Unseen::default() }.to_string(),
            "3 processes could not be examined; run as root, with all capabilities"
        );
        assert!(Unseen { hidden: true, ..Unseen::default() }.to_string().starts_with("/proc hides"));
        let elsewhere = Unseen { elsewhere: true, hidden: true, ..Unseen::default() };
        assert!(elsewhere.to_string().contains("mount the /proc of its PID namespace"));
    }
}

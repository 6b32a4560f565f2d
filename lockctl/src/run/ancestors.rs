//! The ancestors of this process, in `/proc`.

use std::fs;

use lock_any::Holder;
use nix::unistd::getpid;

/// Returns true if the holder is an ancestor of this process, as far as `/proc` shows that.
///
/// The processes of another PID namespace, and those above a hidden one, are not found.
pub(super) fn contain(holder: &Holder) -> bool {
    let is_here = holder.host.is_none() && holder.pid_namespace.is_none_or(|inode| own_pid_namespace() == Some(inode));
    let (Some(start_time), true) = (holder.start_time, is_here) else { return false };
    let mut process = Process::read(getpid().as_raw().cast_unsigned());
    while let Some(child) = process {
        let parent = Process::read(child.parent).filter(|parent| parent.start_time <= child.start_time);
        if child.parent == holder.pid {
            return parent.is_some_and(|parent| parent.start_time == start_time);
        }
        process = parent;
    }
    false
}

/// Inode number of the PID namespace of this process.
fn own_pid_namespace() -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/ns/pid").ok().map(|namespace| namespace.ino())
}

/// A process in `/proc`.
struct Process {
    parent: u32,
    start_time: u64,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses `/proc/PID/stat`. The name of the command may contain spaces and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
        Some(Self { parent: fields.next()?.parse().ok()?, start_time: fields.nth(17)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(pid: u32) -> Holder {
        let mut holder = Holder::of_process(pid);
        holder.start_time = Process::read(pid).map(|process| process.start_time);
        holder
    }

    #[test]
    fn parents_are_ancestors_and_the_process_itself_is_not() {
        let parent = nix::unistd::getppid().as_raw().cast_unsigned();
        assert!(contain(&holder(parent)));
        assert!(!contain(&holder(std::process::id())));
    }

    #[test]
    fn a_process_with_the_pid_of_an_ancestor_and_another_start_time_is_none() {
        let mut holder = holder(nix::unistd::getppid().as_raw().cast_unsigned());
        holder.start_time = holder.start_time.map(|time| time + 1);
        assert!(!contain(&holder));
        holder.start_time = None;
        assert!(!contain(&holder));
    }

    #[test]
    fn the_name_of_a_command_may_contain_parentheses() {
        let stat = "7 (a) S 1 (b) R 5 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 0";
        let process = Process::parse(stat).unwrap();
        assert_eq!((process.parent, process.start_time), (5, 12_345));
    }
}

//! The ancestors and the threads of a process, from `/proc`.

use std::fmt::Display;
use std::fs;

/// Facts of `/proc/PID/stat` (proc_pid_stat(5)).
struct Stat {
    parent: u32,
    threads: u64,
    /// In clock ticks since boot.
    start_time: u64,
}

impl Stat {
    /// Reads the facts of a process, given by its pid or as `self`.
    fn read(process: impl Display) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name of the program may contain parentheses and spaces. After it come field 3 (the state), 4 (the parent), 20 (the number
        // of threads) and 22 (the start time).
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(1);
        let parent = fields.next()?.parse().ok()?;
        let threads = fields.nth(15)?.parse().ok()?;
        Some(Self { parent, threads, start_time: fields.nth(1)?.parse().ok()? })
    }
}

/// A process at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ancestor {
    pub(super) pid: u32,
    pub(super) start_time: u64,
}

/// Returns the ancestors of a process, from its parent on. They have pids of the PID namespace of `/proc`.
///
/// The list is empty if the process with this pid is another one, by the start time. It ends before a process that `/proc` does not show, or
/// that started after its child: its pid was reused.
pub(super) fn ancestors(pid: u32, start_time: Option<u64>) -> Vec<Ancestor> {
    let mut found: Vec<Ancestor> = Vec::new();
    let Some(mut child) = Stat::read(pid).filter(|stat| start_time.is_none_or(|time| time == stat.start_time)) else {
        return found;
    };
    while child.parent != 0 && found.iter().all(|earlier| earlier.pid != child.parent) {
        let Some(parent) = Stat::read(child.parent).filter(|parent| parent.start_time <= child.start_time) else { break };
        found.push(Ancestor { pid: child.parent, start_time: parent.start_time });
        child = parent;
    }
    found
}

/// Returns the ancestors of this process, as [`ancestors`] does. Empty if `/proc` is of another PID namespace.
pub(super) fn of_this_process() -> Vec<Ancestor> {
    // The start time differs if the number of this process has another meaning in `/proc`.
    let this = Stat::read("self");
    this.map_or_else(Vec::new, |this| ancestors(std::process::id(), Some(this.start_time)))
}

/// Returns whether a process has exactly one thread. False if `/proc` does not show the process with this start time.
pub(super) fn has_one_thread(pid: u32, start_time: Option<u64>) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.threads == 1 && start_time.is_none_or(|time| time == stat.start_time))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::Holder;

    #[test]
    fn the_fields_follow_the_name_of_the_program() {
        let line = "7 (a) b (c)) S 5 7 7 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 3 0 4711 1 2 3";
        let Stat { parent, threads, start_time } = Stat::parse(line).unwrap();
        assert_eq!((parent, threads, start_time), (5, 3, 4711));
        assert!(Stat::parse("7 (a) S 5").is_none() && Stat::parse("").is_none());
    }

    #[test]
    fn the_parent_of_a_child_is_its_first_ancestor() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let found = ancestors(child.id(), None);
        let of_another = ancestors(child.id(), Some(1));
        let (one, other) = (has_one_thread(child.id(), None), has_one_thread(child.id(), Some(1)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.first().map(|parent| parent.pid), Some(std::process::id()));
        assert_eq!(&found[1..], ancestors(std::process::id(), None));
        assert!(of_another.is_empty() && one && !other);
    }

    #[test]
    fn parents_are_ancestors_and_other_processes_are_none() {
        let parent = of_this_process()[0];
        let mut holder = Holder::of_process(parent.pid);
        assert!(!holder.is_ancestor(), "its start time is not known");
        holder.start_time = Some(parent.start_time);
        assert!(holder.is_ancestor());
        holder.start_time = Some(parent.start_time + 1);
        assert!(!holder.is_ancestor(), "another process has its number");
        holder.start_time = Some(parent.start_time);
        holder.pid_namespace = Some(1);
        assert!(!holder.is_ancestor(), "it is in another PID namespace");
        let mut this = Holder::of_process(std::process::id());
        this.start_time = Stat::read("self").map(|stat| stat.start_time);
        assert!(!this.is_ancestor());
    }
}

//! Detection of leftovers of a run: semaphore sets, files in shared memory, processes.
//!
//! Any leftover counts, but only if it persists. Other programs of the same user, such as another suite, create and remove their own
//! objects at the same time.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use crate::scratch::SCRATCH_PREFIX;

/// The directory of POSIX shared memory and named semaphores.
const SHARED_MEMORY: &str = "/dev/shm";

/// Time after which an object counts as a leftover. Longer than any case takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Objects of this user that outlive processes, and children of this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// Lists the present objects.
    pub(crate) fn now() -> Self {
        let sets = semaphore_sets().into_iter().map(|id| format!("the semaphore set {id}"));
        let files = files_in_shared_memory().into_iter().map(|name| format!("the file {SHARED_MEMORY}/{name}"));
        let processes = children().into_iter().map(|(pid, command)| format!("the process {pid} ({command})"));
        Self(sets.chain(files).chain(processes).collect())
    }

    /// Returns the objects that are not in `before` and persist for `patience`.
    pub(crate) fn since(before: &Self, patience: Duration) -> Vec<String> {
        let began = Instant::now();
        let mut new = &Self::now().0 - &before.0;
        while !new.is_empty() && began.elapsed() < patience {
            sleep(Duration::from_millis(50));
            new = &new & &Self::now().0;
        }
        let in_use = if new.is_empty() { String::new() } else { files_in_use() };
        new.into_iter().filter(|name| !name.split(' ').any(|word| word.starts_with('/') && in_use.contains(word))).collect()
    }
}

/// Returns the System V semaphore sets of this user.
fn semaphore_sets() -> Vec<u32> {
    let table = fs::read_to_string("/proc/sysvipc/sem").unwrap_or_default();
    let owned = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (id, user) = (fields.get(1)?.parse().ok()?, fields.get(4)?.parse().ok()?);
        (geteuid().as_raw() == user).then_some(id)
    };
    table.lines().filter_map(owned).collect()
}

/// Returns the files of this user in shared memory.
///
/// Excludes the directories of suites, which remove them at their end.
fn files_in_shared_memory() -> Vec<String> {
    let entries = fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten();
    let own = entries.filter(|entry| entry.metadata().is_ok_and(|facts| facts.uid() == geteuid().as_raw()));
    own.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with(SCRATCH_PREFIX)).collect()
}

/// Returns the paths of all files that processes have open or mapped. Such a file is not a leftover.
fn files_in_use() -> String {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|process| process.path());
    let paths = processes.map(|process| {
        let numbers = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let open = numbers.filter_map(|number| Some(fs::read_link(number.path()).ok()?.to_string_lossy().into_owned() + "\n"));
        open.collect::<String>() + &fs::read_to_string(process.join("maps")).unwrap_or_default()
    });
    paths.collect()
}

/// Returns the running children of this process, with their commands.
fn children() -> Vec<(u32, String)> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let pids: Vec<u32> =
        lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    let running = pids.into_iter().filter_map(|pid| {
        let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        (!rest.starts_with(['Z', 'X'])).then(|| (pid, name.to_owned()))
    });
    running.collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Filters by name, because other tests run at the same time.
    fn is_left(before: &Leftovers, what: &str) -> bool {
        Leftovers::since(before, Duration::from_millis(100)).iter().any(|left| left.contains(what))
    }

    #[test]
    fn reports_a_leftover_file_but_not_an_open_one() {
        let before = Leftovers::now();
        let Ok(file) = tempfile::NamedTempFile::new_in(SHARED_MEMORY) else { return };
        let path = file.path().display().to_string();
        assert!(!is_left(&before, &path), "an open file was reported");
        let path_only = file.into_temp_path();
        assert!(is_left(&before, &path));
        drop(path_only);
        assert!(!is_left(&before, &path));
    }

    #[test]
    fn reports_a_leftover_process() {
        let before = Leftovers::now();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat runs");
        let name = format!("the process {} (", child.id());
        assert!(is_left(&before, &name));
        drop(child.stdin.take());
        child.wait().expect("cat ends");
        assert!(!is_left(&before, &name));
    }
}

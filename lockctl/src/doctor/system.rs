//! The system: the file system of the store, limits, and `/proc`.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::{Statvfs, statvfs};

use super::finding::Finding;

/// The share of blocks and inodes in use, in percent, from which a file system is nearly full.
const NEARLY_FULL: u128 = 90;

/// As much room is enough, whatever the share: about a million locks.
const ENOUGH_BYTES: u128 = 256 << 20;
const ENOUGH_INODES: u128 = 1_000;

/// Fewer open files than this are few: each handle on a lock of a `file:` store has a descriptor.
const FEW_FILES: u64 = 256;

pub(super) fn examine(file: Option<&Path>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let directory = file.and_then(Path::parent);
    if let Some((directory, statistics)) = directory.and_then(|path| Some((path, statvfs(path).ok()?))) {
        findings.extend(full(directory, &statistics));
    }
    findings.extend(few_files());
    findings.extend(hidden_proc());
    findings
}

/// Checks the room of a file system.
fn full(directory: &Path, statistics: &Statvfs) -> Option<Finding> {
    let (directory, size) = (directory.display(), u128::from(statistics.fragment_size()));
    let blocks = (u128::from(statistics.blocks()), u128::from(statistics.blocks_available()));
    let inodes = (u128::from(statistics.files()), u128::from(statistics.files_available()));
    let percent = |(all, free): (u128, u128)| ((all - free.min(all)) * 100).checked_div(all).unwrap_or(0);
    let (text, remedy) = if percent(blocks) >= NEARLY_FULL && blocks.1 * size < ENOUGH_BYTES {
        let free = blocks.1 * size / 1024;
        let text = format!("the file system of {directory} is {} % full, and {free} KiB are free", percent(blocks));
        (text, "remove files, or enlarge it (for a tmpfs by `mount -o remount,size=…`): a store needs room when it grows")
    } else if percent(inodes) >= NEARLY_FULL && inodes.1 < ENOUGH_INODES {
        let text =
            format!("{} % of the inodes of the file system of {directory} are used, and {} are free", percent(inodes), inodes.1);
        (text, "remove files, or raise its number of inodes (for a tmpfs by `mount -o remount,nr_inodes=…`)")
    } else {
        return None;
    };
    Some(Finding::warning("space", text, remedy))
}

fn few_files() -> Option<Finding> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let text = format!("a process may have only {soft} open files (RLIMIT_NOFILE)");
    let remedy = "raise the limit (`ulimit -n`, or LimitNOFILE= of the service): each lock of a file: store in use takes one";
    (soft < FEW_FILES).then(|| Finding::warning("limits", text, remedy))
}

/// Checks whether processes can be seen. Without it, holders and deaths are seen less often.
fn hidden_proc() -> Option<Finding> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).map(str::split_whitespace);
    let (text, remedy) = match ids.map(Iterator::count) {
        None => ("/proc is not mounted", "mount it (`mount -t proc proc /proc`)"),
        Some(1) if Path::new("/proc/1").exists() => return None,
        Some(1) => (
            "/proc hides the processes of other users (its mount option hidepid)",
            "run lockctl as root, or with the group of the option gid=",
        ),
        Some(_) => (
            "/proc shows the processes of another PID namespace",
            "mount the /proc of this namespace (`mount -t proc proc /proc`)",
        ),
    };
    let text = format!("{text}: holders, waiters and dead processes may not be found");
    Some(Finding::warning("proc", text, remedy))
}

//! The files that processes have mapped, from `/proc`.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};

use super::finding::{Finding, few};

/// The number of processes that are named.
const FEW: usize = 10;

/// The kernel appends it to the path of a file that was deleted.
const DELETED: &str = " (deleted)";

/// The number of bytes at the start of a store that are the same in each store.
const MAGIC: usize = 8;

/// A shared mapping of a file.
pub(super) struct Mapping {
    pid: u32,
    start: u64,
    /// The path of the file, or that at which it was before it was deleted.
    pub(super) path: PathBuf,
    pub(super) is_deleted: bool,
}

/// Finds the processes that have mapped an earlier file with this path.
///
/// The kernel does not know the path of a file that was created without a name and linked later, as stores are. The process that created it
/// is named if it has mapped a deleted store of the same directory.
pub(super) fn replaced(file: &Path) -> Vec<Finding> {
    let mappings = shared_mappings();
    let deleted = || mappings.iter().filter(|mapping| mapping.is_deleted);
    let named: BTreeSet<_> = deleted().filter(|mapping| mapping.path == file).map(|mapping| mapping.pid).collect();
    let is_store_beside = |mapping: &&Mapping| {
        is_nameless(&mapping.path) && mapping.path.parent() == file.parent() && begins_as(mapping, file).unwrap_or(false)
    };
    let creators: BTreeSet<_> = deleted().filter(is_store_beside).map(|mapping| mapping.pid).collect();
    let creators: BTreeSet<_> = creators.difference(&named).copied().collect();
    let path = file.display();
    let mut findings = Vec::new();
    if !named.is_empty() {
        let text = format!(
            "{path} was deleted or replaced while it was in use: the earlier store excludes only the processes that have it open: {}",
            names(&named)
        );
        findings.push(Finding::problem("replaced", text, "end or restart these processes, so that they use the present store"));
    }
    if !creators.is_empty() {
        let text = format!("{} created a store beside {path}, or this one, and its file was deleted since", names(&creators));
        findings.push(Finding::warning("replaced", text, "end or restart these processes, so that they use the present store"));
    }
    findings
}

/// Returns the shared mappings of files in all processes that may be examined.
pub(super) fn shared_mappings() -> Vec<Mapping> {
    let mut mappings = Vec::new();
    let mut directories = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        for line in String::from_utf8_lossy(&maps).lines() {
            let Some((start, inode, path)) = parse(line) else { continue };
            let (path, is_deleted) = path.strip_suffix(DELETED).map_or((path, false), |path| (path, true));
            let path = PathBuf::from(path);
            let linked = if is_deleted && is_nameless(&path) { linked(&path, inode, &mut directories) } else { None };
            let (path, is_deleted) = linked.map_or((path, is_deleted), |path| (path, false));
            mappings.push(Mapping { pid, start, path, is_deleted });
        }
    }
    mappings
}

/// Parses a line such as `7fc0382d8000-7fc0382ed000 rw-s 00000000 00:1a 2      /dev/shm/locks`. Returns the address, the inode and the
/// path of a shared mapping from the start of a file on.
fn parse(line: &str) -> Option<(u64, u64, &str)> {
    let mut fields = line.splitn(6, ' ');
    let start = u64::from_str_radix(fields.next()?.split_once('-')?.0, 16).ok()?;
    let (is_shared, is_first) = (fields.next()?.ends_with('s'), fields.next()?.bytes().all(|digit| digit == b'0'));
    let (inode, path) = (fields.nth(1)?.parse().ok()?, fields.next()?.trim_start());
    (is_shared && is_first && path.starts_with('/')).then_some((start, inode, path))
}

/// Returns true for the name that the kernel gives to a file without a name, `#` and its inode.
fn is_nameless(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix('#').is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Returns the path at which a file is linked that was created without a name in this directory.
fn linked(path: &Path, inode: u64, directories: &mut HashMap<PathBuf, HashMap<u64, PathBuf>>) -> Option<PathBuf> {
    let directory = path.parent()?;
    let files = directories.entry(directory.to_owned()).or_insert_with(|| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| (entry.ino(), entry.path())).collect()
    });
    files.get(&inode).cloned()
}

/// Returns whether a mapped file begins with the bytes with which the store begins.
fn begins_as(mapping: &Mapping, store: &Path) -> Option<bool> {
    let (mut wanted, mut found) = ([0; MAGIC], [0; MAGIC]);
    File::open(store).ok()?.read_exact_at(&mut wanted, 0).ok()?;
    File::open(format!("/proc/{}/mem", mapping.pid)).ok()?.read_exact_at(&mut found, mapping.start).ok()?;
    Some(wanted == found)
}

fn names(pids: &BTreeSet<u32>) -> String {
    let name = |pid: &u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("pid {pid} ({})", command.trim_end())
    };
    few(&pids.iter().take(FEW).map(name).collect::<Vec<_>>(), pids.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_shared_mapping_is_found() {
        let line = "7fc0382d8000-7fc0382ed000 rw-s 00000000 00:1a 2                          /dev/shm/a b (deleted)";
        assert_eq!(parse(line), Some((0x7fc0_382d_8000, 2, "/dev/shm/a b (deleted)")));
        assert_eq!(parse(&line.replace("rw-s", "r--p")), None);
        assert_eq!(parse(&line.replace("s 00000000", "s 00001000")), None);
        assert_eq!(parse("7fc0382d8000-7fc0382ed000 rw-s 00000000 00:01 2"), None);
        assert_eq!(parse("7ffd-7ffe rw-p 00000000 00:00 0                          [stack]"), None);
    }

    #[test]
    fn a_name_of_the_kernel_is_a_number_sign_and_digits() {
        assert!(is_nameless(Path::new("/dev/shm/#4711")));
        for other in ["/dev/shm/locks", "/dev/shm/#", "/dev/shm/#a", "/"] {
            assert!(!is_nameless(Path::new(other)), "{other}");
        }
    }
}

//! The files that processes have mapped, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::finding::{Finding, few};

/// The number of processes that are named.
const FEW: usize = 10;

/// The kernel appends it to the path of a file that was deleted.
const DELETED: &str = " (deleted)";

/// Finds the processes that have mapped an earlier file with this path.
pub(super) fn replaced(file: &Path) -> Option<Finding> {
    let path = file.to_str()?;
    let earlier = format!("{path}{DELETED}");
    let users = shared_mappings().remove(&earlier)?;
    let names: Vec<_> = users.iter().take(FEW).map(|pid| name(*pid)).collect();
    let text = format!(
        "{path} was deleted or replaced while it was in use: the earlier store excludes only the processes that have it open: {}",
        few(&names, users.len() as u64)
    );
    Some(Finding::problem("replaced", text, "end or restart these processes, so that they use the present store"))
}

/// Returns the shared mappings of all processes that may be examined: the path, and the processes.
pub(super) fn shared_mappings() -> BTreeMap<String, Vec<u32>> {
    let mut files: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
        for path in String::from_utf8_lossy(&maps).lines().filter_map(shared_file) {
            let users = files.entry(path.to_owned()).or_default();
            if users.last() != Some(&pid) {
                users.push(pid);
            }
        }
    }
    files
}

/// Parses a line such as `7fc0382d8000-7fc0382ed000 rw-s 00000000 00:1a 2      /dev/shm/locks`.
fn shared_file(line: &str) -> Option<&str> {
    let mut fields = line.splitn(6, ' ');
    let is_shared = fields.nth(1)?.ends_with('s');
    fields.nth(3).map(str::trim_start).filter(|path| is_shared && path.starts_with('/'))
}

fn name(pid: u32) -> String {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("pid {pid} ({})", command.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_shared_mapping_is_found() {
        let line = "7fc0382d8000-7fc0382ed000 rw-s 00000000 00:1a 2                          /dev/shm/a b (deleted)";
        assert_eq!(shared_file(line), Some("/dev/shm/a b (deleted)"));
        assert_eq!(shared_file(&line.replace("rw-s", "r--p")), None);
        assert_eq!(shared_file("7fc0382d8000-7fc0382ed000 rw-s 00000000 00:01 2"), None);
        assert_eq!(shared_file("7ffd-7ffe rw-p 00000000 00:00 0                          [stack]"), None);
    }
}

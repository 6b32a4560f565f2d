//! `doctor` on faults of the system, each made in private namespaces.

use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::{Check, LOCKCTL};

pub(crate) const ALL: [(&str, Check); 6] = [
    ("a_nearly_full_tmpfs_is_a_warning", a_nearly_full_tmpfs),
    ("a_tmpfs_with_few_inodes_is_a_warning", few_inodes),
    ("an_unmounted_proc_is_a_warning", no_proc),
    ("the_proc_of_another_pid_namespace_is_a_warning", another_proc),
    ("a_semaphore_set_that_a_store_left_behind_is_named", a_set_left_behind),
    ("a_limit_on_semaphore_sets_is_named", few_sets),
];

/// Runs a script in private namespaces. `$0` is lockctl, and `$1` a scratch directory. Returns the exit code and the output.
fn inside(namespaces: &[&str], script: &str) -> Result<(Option<i32>, String), Failed> {
    let scratch = TempDir::new()?;
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount"]).args(namespaces).args(["sh", "-ec", script, LOCKCTL]).arg(scratch.path());
    let output = command.env_remove("LOCKCTL_STORE").stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), text))
}

/// Checks for the exit code and the words.
fn says(namespaces: &[&str], script: &str, code: i32, words: &[&str]) -> Result<(), Failed> {
    let (found, text) = inside(namespaces, script)?;
    if found == Some(code) && words.iter().all(|word| text.contains(word)) {
        return Ok(());
    }
    Err(format!("{found:?}, wanted {code} and {words:?}: {text}").into())
}

fn a_nearly_full_tmpfs() -> Result<(), Failed> {
    let create = "mount -t tmpfs -o size=2m none $1; $0 --store shm:$1/locks create";
    says(&[], &format!("{create}; exec $0 --store shm:$1/locks doctor"), 0, &["nothing is wrong"])?;
    let script = format!("{create}; head -c 1950000 /dev/zero >$1/large; exec $0 --store shm:$1/locks doctor");
    says(&[], &script, 1, &["warning: the file system of ", " % full", "remount,size="])
}

fn few_inodes() -> Result<(), Failed> {
    let script = "mount -t tmpfs -o size=2m,nr_inodes=20 none $1; $0 --store shm:$1/locks create
        for number in $(seq 17); do : >$1/$number; done; exec $0 --store shm:$1/locks doctor";
    says(&[], script, 1, &["% of the inodes", "remount,nr_inodes="])
}

fn no_proc() -> Result<(), Failed> {
    let script = "$0 --store shm:$1/locks create; mount -t tmpfs none /proc; exec $0 --store shm:$1/locks doctor";
    says(&[], script, 1, &["warning: /proc is not mounted", "mount -t proc"])
}

fn another_proc() -> Result<(), Failed> {
    let script = "$0 --store shm:$1/locks create; exec $0 --store shm:$1/locks doctor";
    says(&["--pid", "--fork"], script, 1, &["/proc shows the processes of another PID namespace", "mount -t proc"])?;
    says(&["--pid", "--fork", "--mount-proc"], script, 0, &["nothing is wrong"])
}

fn a_set_left_behind() -> Result<(), Failed> {
    let store = "mount -t tmpfs none $1; $0 --store sem:$1/locks create; $0 --store sem:$1/locks run 3 -- true";
    says(&["--ipc"], &format!("{store}; exec $0 --store sem:$1/locks doctor"), 0, &["nothing is wrong"])?;
    // A second store in the directory has another set.
    let beside = format!("{store}; $0 --store sem:$1/other create; $0 --store sem:$1/other run 3 -- true");
    says(&["--ipc"], &format!("{beside}; exec $0 --store sem:$1/locks doctor"), 0, &["nothing is wrong"])?;
    let deleted =
        format!("{beside}; rm $1/other; $0 --store sem:$1/locks doctor && exit 9; code=$?; ipcs -s | grep 0x4c; exit $code");
    let (code, text) = inside(&["--ipc"], &deleted)?;
    // The ids in the list of sets, whose second column they are.
    let sets: Vec<_> =
        text.lines().filter(|line| line.starts_with("0x4c")).filter_map(|line| line.split_whitespace().nth(1)).collect();
    let named = sets.iter().filter(|set| text.contains(&format!("semaphore set {set} belongs to no store"))).count();
    let removed = sets.iter().filter(|set| text.contains(&format!("`ipcrm -s {set}`"))).count();
    if (code, sets.len(), named, removed) == (Some(1), 2, 1, 1) { Ok(()) } else { Err(format!("{code:?}: {text}").into()) }
}

fn few_sets() -> Result<(), Failed> {
    let script = "sem=/proc/sys/kernel/sem
        [ -w $sem ] || { echo lacks; exit 0; }
        $0 --store sem:$1/locks create; $0 --store sem:$1/locks run 3 -- true; echo '32000 1024000000 500 1' >$sem
        exec $0 --store sem:$1/locks doctor";
    match inside(&["--ipc"], script)? {
        // The kernel lets only the root user of the machine change its limits before Linux 6.
        (Some(0), text) if text.contains("lacks") => Ok(()),
        (Some(2), text) if text.contains("problem: there are 1 semaphore sets, and the kernel allows 1 (SEMMNI)") => Ok(()),
        (code, text) => Err(format!("{code:?}: {text}").into()),
    }
}

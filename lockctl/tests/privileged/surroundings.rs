//! Messages if a directory of the system is missing, read-only or another user's. Each names the directory and a remedy.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;
use tempfile::TempDir;

use crate::{Check, LOCKCTL, in_mount_namespace};

pub(crate) const WITH_MOUNTS: [(&str, Check); 5] = [
    ("a_bind_mount_of_a_deleted_store_is_named", a_store_deleted_behind_a_bind_mount),
    ("a_missing_dev_shm_is_named", a_missing_dev_shm),
    ("a_read_only_dev_shm_is_named", a_read_only_dev_shm),
    ("a_name_is_free_in_each_scheme", a_name_in_each_scheme),
    ("without_proc_and_devices_stores_work", without_proc_and_devices),
];

pub(crate) const OF_USERS: [(&str, Check); 4] = [
    ("a_dev_shm_that_a_user_may_not_write_is_named", a_dev_shm_of_root),
    ("the_directory_of_another_user_is_named", the_directory_of_another_user),
    ("the_runtime_directory_of_another_user_is_named", the_runtime_directory_of_another_user),
    ("an_invalid_runtime_directory_is_named", an_invalid_runtime_directory),
];

/// A user without an account.
pub(crate) const USER: u32 = 59_001;

/// The schemes whose stores are in `/dev/shm`.
const IN_SHM: [&str; 3] = ["shm", "sem", "posix-sem"];

/// Checks the exit code, and for one line on stderr with the words in `words` and without those in `not`.
pub(crate) fn says(output: &Output, code: i32, words: &[&str], not: &[&str]) -> Result<(), Failed> {
    let line = String::from_utf8_lossy(&output.stderr);
    let has = |word: &&str| line.contains(*word);
    let is_message = line.lines().count() == 1 && line.starts_with("lockctl: ") && line.contains("; ");
    if output.status.code() == Some(code) && is_message && words.iter().all(has) && !not.iter().any(has) {
        return Ok(());
    }
    Err(format!("{}, wanted {code} and {words:?} without {not:?}: {line:?}", output.status).into())
}

/// Runs lockctl on the store after a script in a mount namespace.
fn after(script: &str, args: &str) -> Result<Output, Failed> {
    let scratch = tempfile::tempdir()?;
    Ok(in_mount_namespace(&format!("{script}; exec $0 {args}"), &scratch).stdin(Stdio::null()).output()?)
}

fn a_store_deleted_behind_a_bind_mount() -> Result<(), Failed> {
    for scheme in IN_SHM {
        let script = format!(
            "mount -t tmpfs none /mnt; $0 --store {scheme}:/mnt/a create; touch /mnt/b; mount --bind /mnt/a /mnt/b; rm /mnt/a"
        );
        for (code, args) in [(77, "run 3 -- true"), (77, "list"), (77, "create"), (77, "info")] {
            let output = after(&script, &format!("--store {scheme}:/mnt/b {args}"))?;
            says(&output, code, &["/mnt/b", "bind mount", "unmount it"], &[])?;
        }
    }
    Ok(())
}

fn a_missing_dev_shm() -> Result<(), Failed> {
    let script = "mount -t tmpfs none /dev";
    for scheme in IN_SHM {
        for (code, args) in [(66, "list"), (73, "create"), (73, "run 3 -- true")] {
            let output = after(script, &format!("--store {scheme}:none {args}"))?;
            says(&output, code, &["/dev/shm does not exist", "mount a tmpfs"], &["create it first"])?;
        }
    }
    Ok(())
}

fn a_read_only_dev_shm() -> Result<(), Failed> {
    let script = "mount -t tmpfs -o ro none /dev/shm";
    for scheme in IN_SHM {
        for (code, args) in [(66, "list"), (77, "create"), (77, "run 3 -- true")] {
            let output = after(script, &format!("--store {scheme}:none {args}"))?;
            says(&output, code, &["/dev/shm/none", "read-only", "another path"], &["create it first"])?;
        }
    }
    Ok(())
}

fn a_name_in_each_scheme() -> Result<(), Failed> {
    let each = |command: &str| IN_SHM.map(|scheme| command.replace("SCHEME", scheme)).join("; ");
    let create = each("$0 --store SCHEME:x create; $0 --store SCHEME:x allocate 3");
    let destroy = each("$0 --store SCHEME:x list; $0 --store SCHEME:x destroy --yes");
    let output = after(&format!("mount -t tmpfs none /dev/shm; {create}; ls /dev/shm; {destroy}"), "--version")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let files: Vec<_> = stdout.lines().filter(|line| line.starts_with("x.")).collect();
    if !output.status.success() || files != ["x.posix-sem", "x.sem", "x.shm"] {
        return Err(format!("{output:?}").into());
    }
    Ok(())
}

fn without_proc_and_devices() -> Result<(), Failed> {
    for scheme in ["shm", "sem", "posix-sem", "file"] {
        let store = format!("$0 --store {scheme}:$1/store");
        let commands = ["create", "run 3 -- true", "run --new -- true", "allocate", "list", "info", "destroy --yes"];
        let commands: Vec<_> = commands.iter().map(|command| format!("{store} {command}")).collect();
        let script =
            format!("mount -t tmpfs none $1; mount -t tmpfs none /proc; mount -t tmpfs none /dev; {}", commands.join("; "));
        let scratch = tempfile::tempdir()?;
        let output = in_mount_namespace(&script, &scratch).stdin(Stdio::null()).output()?;
        if !output.status.success() || !output.stderr.is_empty() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            // Before Linux 6.11, only `/proc` shows the IPC namespace.
            if !(scheme == "sem" && stderr.contains("mount /proc, or use Linux 6.11")) {
                return Err(format!("{scheme}: {}: {stderr:?}", output.status).into());
            }
        }
    }
    Ok(())
}

/// A directory that every user can search, with a copy of lockctl. Other users may have no access to the build directory.
pub(crate) struct Shared(TempDir);

impl Shared {
    pub(crate) fn new() -> Result<Self, Failed> {
        let shared = Self(tempfile::Builder::new().prefix("lockctl-test-").tempdir()?);
        fs::set_permissions(shared.0.path(), Permissions::from_mode(0o755))?;
        // By another process: a child that another test forks during a copy would inherit the descriptor, and a file that is open for
        // writing cannot be executed.
        let copied = Command::new("cp").arg(LOCKCTL).arg(shared.lockctl()).status()?;
        if !copied.success() {
            return Err(format!("lockctl could not be copied: {copied}").into());
        }
        Ok(shared)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn lockctl(&self) -> PathBuf {
        self.path().join("lockctl")
    }

    /// Creates a directory that only root may search.
    fn private(&self) -> Result<PathBuf, Failed> {
        let private = self.path().join("private");
        fs::create_dir(&private)?;
        fs::set_permissions(&private, Permissions::from_mode(0o700))?;
        Ok(private)
    }

    /// lockctl as another user.
    fn of_user(&self, url: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.lockctl());
        command.args(["--store", url]).args(args).env_remove("LOCKCTL_STORE").env_remove("XDG_RUNTIME_DIR");
        command.uid(USER).gid(USER).current_dir("/").stdin(Stdio::null());
        command
    }
}

fn a_dev_shm_of_root() -> Result<(), Failed> {
    let shared = Shared::new()?;
    let lockctl = shared.lockctl();
    for (code, args) in [(66, "list"), (77, "create")] {
        let script = format!(
            "mount -t tmpfs -o mode=755 none /dev/shm; exec setpriv --reuid {USER} --regid {USER} --clear-groups {} --store shm:none {args}",
            lockctl.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script]).env_remove("LOCKCTL_STORE").stdin(Stdio::null());
        let words = [&format!("user {USER} may not create files in /dev/shm"), "owner 0", "mode 0755"];
        says(&command.output()?, code, &words, &["create it first"])?;
    }
    Ok(())
}

fn the_directory_of_another_user() -> Result<(), Failed> {
    let shared = Shared::new()?;
    let private = shared.private()?;
    let denied = format!("user {USER} may not search {} (owner 0,", private.display());
    for scheme in ["shm", "sem", "posix-sem", "file"] {
        for args in [&["list"][..], &["create"], &["run", "3", "--", "true"]] {
            let url = format!("{scheme}:{}", private.join("store").display());
            says(&shared.of_user(&url, args).output()?, 77, &[&denied], &["create it first"])?;
        }
    }
    Ok(())
}

fn the_runtime_directory_of_another_user() -> Result<(), Failed> {
    let shared = Shared::new()?;
    let private = shared.private()?;
    for directory in [shared.path(), &private, &private.join("deeper")] {
        let mut command = shared.of_user("file:none", &["list"]);
        let words = ["XDG_RUNTIME_DIR", &directory.display().to_string(), &format!("user {USER}"), "file:/absolute/directory"];
        says(&command.env("XDG_RUNTIME_DIR", directory).output()?, 77, &words, &["create it first"])?;
    }
    Ok(())
}

fn an_invalid_runtime_directory() -> Result<(), Failed> {
    let shared = Shared::new()?;
    for (value, word) in [("", "not set"), ("relative", "\"relative\""), ("/none/such", "/none/such, which does not exist")] {
        for args in [&["list"][..], &["create"]] {
            let mut command = shared.of_user("file:none", args);
            says(&command.env("XDG_RUNTIME_DIR", value).output()?, 64, &["XDG_RUNTIME_DIR", word], &["create it first"])?;
        }
    }
    Ok(())
}

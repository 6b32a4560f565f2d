//! The default store: one for all processes of a user, in a place that no other user can take.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Failed;

use crate::Check;
use crate::surroundings::{Shared, USER, says};

pub(crate) const OF_USERS: [(&str, Check); 7] = [
    ("the_default_store_of_root_is_in_run", of_root),
    ("the_default_store_of_a_user_is_in_the_runtime_directory", of_a_user),
    ("an_empty_variable_counts_as_unset", an_empty_variable),
    ("the_default_store_is_the_same_in_a_user_namespace", in_a_user_namespace),
    ("the_default_store_is_the_same_with_a_session_as_without", with_a_session_and_without),
    ("a_default_store_whose_place_another_user_has_is_refused", in_a_taken_place),
    ("a_set_user_id_program_has_the_default_store_of_its_user", of_a_set_user_id_program),
];

/// Runs a script as root in a mount namespace with an empty `/run` and `/dev/shm`. `$0` is lockctl, and `$USER` the prefix for a command
/// of a user. The directory `/run/session` belongs to that user.
fn run(shared: &Shared, script: &str) -> Result<Output, Failed> {
    let prepare = format!(
        "mount -t tmpfs none /run; mount -t tmpfs -o mode=1777 none /dev/shm; mkdir -m 700 /run/session; chown {USER}:{USER} /run/session
         USER='setpriv --reuid {USER} --regid {USER} --clear-groups'; unset LOCKCTL_STORE XDG_RUNTIME_DIR; cd /; {script}"
    );
    let mut command = Command::new("unshare");
    Ok(command.args(["--mount", "sh", "-ec", &prepare]).arg(shared.lockctl()).stdin(Stdio::null()).output()?)
}

/// Runs the script, which must succeed without a message. Returns its output.
fn ok(shared: &Shared, script: &str) -> Result<String, Failed> {
    let output = run(shared, script)?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && err.is_empty() {
        return Ok(out.into_owned());
    }
    Err(format!("{script}: {}: {out:?} {err:?}", output.status).into())
}

fn equals(found: &str, wanted: &str) -> Result<(), Failed> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?}, wanted {wanted:?}").into()) }
}

fn of_root() -> Result<(), Failed> {
    let show = "stat -c '%n %a' /run/lockctl/*; stat -c '%a' /run/lockctl; ls /dev/shm /run/session";
    for variable in ["", "export XDG_RUNTIME_DIR=/run/session; "] {
        let shown = ok(&Shared::new()?, &format!("{variable}$0 run 3 -- true; {show}"))?;
        equals(&shown, "/run/lockctl/locks 1600\n700\n/dev/shm:\n\n/run/session:\n")?;
    }
    Ok(())
}

fn of_a_user() -> Result<(), Failed> {
    let shared = Shared::new()?;
    let shown =
        ok(&shared, "XDG_RUNTIME_DIR=/run/session $USER $0 run 3 -- true; stat -c '%n %a' /run/session/*/*; ls /dev/shm")?;
    equals(&shown, "/run/session/lockctl/locks 1600\n")?;
    // Not the directory of another user, a relative one, or none.
    for variable in ["XDG_RUNTIME_DIR=/run", "XDG_RUNTIME_DIR=run", "XDG_RUNTIME_DIR=", "XDG_RUNTIME_DIR=/none", ""] {
        let shown = ok(&shared, &format!("{variable} $USER $0 run 3 -- true; cd /dev/shm; stat -c '%n %a %u' * */*"))?;
        equals(&shown, &format!("lockctl-{USER} 700 {USER}\nlockctl-{USER}/locks 1600 {USER}\n"))?;
    }
    Ok(())
}

fn an_empty_variable() -> Result<(), Failed> {
    let shown = ok(&Shared::new()?, "LOCKCTL_STORE= $0 run 3 -- true; ls /run/lockctl")?;
    equals(&shown, "locks\n")?;
    let output = run(&Shared::new()?, "exec $0 --store '' list")?;
    says(&output, 64, &["scheme"], &[])
}

fn in_a_user_namespace() -> Result<(), Failed> {
    let shared = Shared::new()?;
    if !run(&shared, "$USER unshare --map-root-user true")?.status.success() {
        eprintln!("skipped: lacks user namespaces of users");
        return Ok(());
    }
    for variable in ["XDG_RUNTIME_DIR=/run/session", ""] {
        let busy = "unshare --map-root-user $0 run -q -n 3 -- true; echo $?; unshare --map-root-user id -u";
        let shown = ok(&shared, &format!("{variable} $USER $0 run 3 -- sh -c '{busy}' $0"))?;
        equals(&shown, "1\n0\n")?;
        let shown =
            ok(&shared, &format!("{variable} $USER unshare --map-root-user $0 run 3 -- true; ls /dev/shm /run/session | wc -l"))?;
        equals(&shown, "4\n")?;
    }
    // The user of a second namespace cannot be told from root, whose directory it cannot have.
    let output = run(&shared, "$0 create; exec $USER unshare --map-root-user unshare --map-root-user $0 run 3 -- true")?;
    says(&output, 77, &["/run/lockctl", "--store"], &[])
}

fn with_a_session_and_without() -> Result<(), Failed> {
    let shared = Shared::new()?;
    let busy = "XDG_RUNTIME_DIR=/run/session $0 run -q -n 3 -- true; echo $?";
    equals(&ok(&shared, &format!("$USER $0 run 3 -- sh -c '{busy}' $0"))?, "1\n")?;
    // The usual directory of the session is found without the variable.
    let session = format!("mkdir -p /run/user; mkdir -m 700 /run/user/{USER}; chown {USER} /run/user/{USER}");
    let busy = "env -u XDG_RUNTIME_DIR $0 run -q -n 3 -- true; echo $?";
    let script = format!("{session}; XDG_RUNTIME_DIR=/run/user/{USER} $USER $0 run 3 -- sh -c '{busy}' $0");
    equals(&ok(&shared, &script)?, "1\n")
}

fn in_a_taken_place() -> Result<(), Failed> {
    let (shared, place) = (Shared::new()?, format!("/dev/shm/lockctl-{USER}"));
    let chown = format!("chown {USER}");
    for (take, word) in [
        (format!("mkdir -m 777 {place}"), "belongs to user root (0)"),
        (format!("touch {place}"), "belongs to user root (0)"),
        (format!("ln -s /run/session {place}"), "belongs to user root (0)"),
        (format!("touch {place}; {chown} {place}"), "is not a directory"),
        (format!("mkdir -m 770 {place}; {chown} {place}; chmod 770 {place}"), "mode 0770"),
    ] {
        for args in ["list", "create", "run 3 -- true", "info"] {
            let output = run(&shared, &format!("{take}; exec $USER $0 {args}"))?;
            says(&output, 77, &[&place, word, "--store"], &[])?;
        }
        let works = format!("{take}; XDG_RUNTIME_DIR=/run/session $USER $0 run 3 -- true");
        ok(&shared, &works)?;
    }
    // The name that earlier versions used has no effect on root.
    ok(&shared, "touch /dev/shm/lockctl-0 /dev/shm/lockctl-0.shm; $0 run 3 -- true")?;
    Ok(())
}

fn of_a_set_user_id_program() -> Result<(), Failed> {
    let shared = Shared::new()?;
    let other = USER + 1;
    std::os::unix::fs::chown(shared.lockctl(), Some(other), Some(other))?;
    fs::set_permissions(shared.lockctl(), Permissions::from_mode(0o4755))?;
    let script = format!(
        "mkdir -m 700 /run/other; chown {other} /run/other; XDG_RUNTIME_DIR=/run/other $USER $0 create; ls /run/other; cd /dev/shm; stat -c '%n %u' */*"
    );
    let output = run(&shared, &script)?;
    if String::from_utf8_lossy(&output.stdout).contains(&format!("lockctl-{USER}")) {
        eprintln!("skipped: the temporary directory is mounted with nosuid");
        return Ok(());
    }
    equals(&ok(&shared, &script)?, &format!("lockctl-{other}/locks {other}\n"))
}

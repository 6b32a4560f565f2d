//! The files of backends. Each kind of lock has a folder, and files with the same names have the same purpose in all of them.

use std::fs;

use crate::Result;
use crate::shell::root;

/// Files with a fixed purpose: the docs and the registration, opening and the `Manager`, the `RawLock`, how a thread waits, what happens
/// after a death, who uses a lock without touching it, and unsafe code with system calls.
const COMMON: [&str; 8] = ["lib", "mod", "manager", "lock", "wait", "recovery", "inspect", "sys"];

/// Files that each folder has.
const REQUIRED: [&str; 2] = ["manager", "lock"];

/// The folders, each with its other files, which are named after nouns of the domain.
const FOLDERS: &[(&str, &[&str])] = &[
    ("lock-shm/src", &["env", "linked", "robust", "starvation"]),
    (
        "lock-file/src",
        &["beneath", "claim", "descriptors", "directory", "lock_file", "open_files", "release_watcher", "runtime_dir", "tree"],
    ),
    ("lock-file/src/lxc", &["path", "queue"]),
    (
        "lock-sem/src/sysv",
        &[
            "gate",
            "identity",
            "limits",
            "location",
            "lock_tests",
            "namespace",
            "ownership",
            "procfs",
            "run",
            "semaphore",
            "set",
            "sets",
            "span",
            "state",
        ],
    ),
    ("lock-sem/src/posix", &["line"]),
    ("lock-podman/src", &["allocating", "held", "image", "layout", "location", "mutex", "options", "record", "segment"]),
    ("lock-podman/src/files", &[]),
    (
        "lock-etcd/src",
        &[
            "acquisition",
            "allocated",
            "allocation",
            "context",
            "destroying",
            "freeing",
            "keys",
            "listing",
            "options",
            "queue",
            "random",
            "reconcile",
            "records",
            "session",
        ],
    ),
    (
        "lock-postgres/src",
        &[
            "connection",
            "connections",
            "keeper",
            "options",
            "password",
            "pool",
            "records",
            "schema",
            "server",
            "session",
            "socket",
            "sqlstate",
            "statement",
            "tls",
            "transfer",
        ],
    ),
];

/// The files that are missing or have another name.
pub(super) fn objections() -> Result<Vec<String>> {
    let mut objections = Vec::new();
    for (folder, others) in FOLDERS {
        let mut names = Vec::new();
        for entry in fs::read_dir(root().join(folder)).map_err(|error| format!("{folder}: {error}"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
            }
        }
        let is_known = |name: &str| COMMON.contains(&name) || others.contains(&name);
        let unknown = names.iter().filter(|name| !is_known(name));
        objections.extend(unknown.map(|name| {
            format!(
                "{folder}/{name}.rs: use one of the common names ({}), or add the name to xtask/src/tidy/files.rs",
                COMMON.join(", ")
            )
        }));
        let missing = REQUIRED.iter().chain(*others).filter(|name| !names.iter().any(|other| other == *name));
        objections.extend(missing.map(|name| format!("{folder}/{name}.rs is missing")));
    }
    Ok(objections)
}

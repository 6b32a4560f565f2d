//! Stores on full and unsuitable file systems: errors and no signals, also for an owner that releases its lock later.
//!
//! Each test mounts a new file system in a private mount namespace. The disk is an image in a scratch directory. If this machine
//! cannot make or mount the file system, the test is listed as ignored, with the reason.

mod disk;
mod full;
mod refused;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use disk::Kind;

/// The backends whose stores are files, each with a URL for a path.
const SCHEMES: [&str; 4] = ["shm", "sem", "posix-sem", "file"];

fn main() -> ExitCode {
    let kinds = Kind::SUITABLE.map(|kind| (kind, kind.lacks()));
    let mut trials = Vec::new();
    for (kind, lacks) in &kinds {
        for scheme in SCHEMES {
            let name = format!("{}::{scheme}::a_full_file_system_is_an_error_and_no_signal", kind.name());
            trials.push(trial(name, lacks, *kind, move |disk| full::no_command_is_killed(disk, scheme)));
        }
        let name = format!("{}::the_error_names_missing_inodes", kind.name());
        if kind.has_inode_limit() {
            trials.push(trial(name, lacks, *kind, full::an_inode_is_missing));
        }
    }
    let (btrfs, lacks) = &kinds[0];
    for (name, run) in refused::ON_BTRFS {
        trials.push(trial(format!("btrfs::{name}"), lacks, *btrfs, run));
    }
    let (xfs, lacks) = &kinds[1];
    trials.push(trial(
        "xfs::a_store_with_a_reflinked_copy_is_an_error_and_no_signal".to_owned(),
        lacks,
        *xfs,
        full::after_a_copy,
    ));
    let lacks = Kind::Fuse.lacks();
    for scheme in SCHEMES {
        let name = format!("fuse::{scheme}::a_store_is_refused_without_filesystem_any");
        trials.push(trial(name, &lacks, Kind::Fuse, move |disk| refused::on_fuse(disk, scheme)));
    }
    trials.push(trial(
        "fuse::lxc::a_lock_is_refused_without_filesystem_any".to_owned(),
        &lacks,
        Kind::Fuse,
        refused::lxc_on_fuse,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

type Outcome = Result<(), Failed>;

fn trial(name: String, lacks: &Option<String>, kind: Kind, run: impl FnOnce(&disk::Disk) -> Outcome + Send + 'static) -> Trial {
    let trial = Trial::test(name, move || kind.mounted(run)).with_ignored_flag(lacks.is_some());
    trial.with_kind(lacks.clone().unwrap_or_default())
}

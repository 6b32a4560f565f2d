//! Refused stores: on FUSE, and with copy-on-write.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::process::Command;

use libtest_mimic::Failed;

use crate::Outcome;
use crate::disk::{Disk, succeeds};
use crate::full::{exits_with, url};

type Test = fn(&Disk) -> Outcome;

pub(crate) const ON_BTRFS: [(&str, Test); 3] = [
    ("a_copy_with_copy_on_write_is_refused", a_copy_with_copy_on_write_is_refused),
    ("filesystem_any_accepts_copy_on_write", filesystem_any_accepts_copy_on_write),
    ("a_store_in_a_compressed_directory_is_not_compressed", a_store_in_a_compressed_directory_is_not_compressed),
];

fn a_copy_with_copy_on_write_is_refused(disk: &Disk) -> Outcome {
    let [store, copy] = ["store", "copy"].map(|name| disk.path().join(name));
    for scheme in ["shm", "sem", "posix-sem"] {
        exits_with(&[0], &url(scheme, &store), &["create"])?;
        io::copy(&mut File::open(&store)?, &mut OpenOptions::new().write(true).create_new(true).open(&copy)?)?;
        for command in [&["list"][..], &["run", "3", "--", "true"], &["allocate"]] {
            let stderr = exits_with(&[69], &url(scheme, &copy), command)?;
            if !(stderr.contains(&copy.display().to_string()) && stderr.contains("copied on write")) {
                return Err(format!("{stderr:?}").into());
            }
        }
        fs::remove_file(&copy)?;
        exits_with(&[0], &url(scheme, &store), &["destroy", "--yes"])?;
    }
    Ok(())
}

fn filesystem_any_accepts_copy_on_write(disk: &Disk) -> Outcome {
    let store = disk.path().join("store");
    exits_with(&[0], &url("shm", &store), &["create"])?;
    let bytes = fs::read(&store)?;
    fs::remove_file(&store)?;
    fs::write(&store, bytes)?;
    succeeds(Command::new("chmod").arg("600").arg(&store))?;
    exits_with(&[69], &url("shm", &store), &["list"])?;
    exits_with(&[0], &format!("{}?filesystem=any", url("shm", &store)), &["destroy", "--yes"])?;
    Ok(())
}

fn a_store_in_a_compressed_directory_is_not_compressed(disk: &Disk) -> Outcome {
    let directory = disk.path().join("compressed");
    fs::create_dir(&directory)?;
    succeeds(Command::new("chattr").arg("+c").arg(&directory))?;
    exits_with(&[0], &url("shm", &directory.join("store")), &["run", "3", "--", "true"])?;
    Ok(())
}

/// A store is neither created nor opened on FUSE.
pub(crate) fn on_fuse(disk: &Disk, scheme: &str) -> Outcome {
    let store = url(scheme, &disk.path().join("store"));
    let is_refusal = |stderr: &str| stderr.contains(" is on FUSE") && stderr.contains(&disk.path().display().to_string());
    let refused = |codes: &[i32], command: &[&str]| {
        let stderr = exits_with(codes, &store, command)?;
        if is_refusal(&stderr) { Ok(()) } else { Err(Failed::from(format!("{command:?}: {stderr:?}"))) }
    };
    refused(&[66], &["list"])?;
    refused(&[69], &["create"])?;
    refused(&[69], &["run", "3", "--", "true"])?;
    if fs::read_dir(disk.source())?.next().is_some() {
        return Err("a refused creation left a file behind".into());
    }
    // The same directory without FUSE.
    exits_with(&[0], &url(scheme, &disk.source().join("store")), &["create"])?;
    for command in [&["list"][..], &["create"], &["run", "3", "--", "true"], &["destroy", "--yes"]] {
        refused(&[69], command)?;
    }
    let insisting = format!("{store}?filesystem=any");
    exits_with(&[0], &insisting, &["list"])?;
    exits_with(&[0], &insisting, &["destroy", "--yes"])?;
    Ok(())
}

pub(crate) fn lxc_on_fuse(disk: &Disk) -> Outcome {
    let lock = format!("lxc:/containers?name=one&rundir={}", disk.path().display());
    for (code, url, command) in [
        (69, lock.clone(), &["create"][..]),
        (0, format!("{lock}&filesystem=any"), &["create"]),
        (69, lock.clone(), &["list"]),
        (69, lock.clone(), &["run", "--", "true"]),
        (0, format!("{lock}&filesystem=any"), &["run", "--", "true"]),
    ] {
        let stderr = exits_with(&[code], &url, command)?;
        if code == 69 && !stderr.contains(" is on FUSE") {
            return Err(format!("{command:?}: {stderr:?}").into());
        }
    }
    Ok(())
}

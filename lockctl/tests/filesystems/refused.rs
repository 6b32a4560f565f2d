//! Files whose room cannot be relied on.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::process::Command;

use crate::Outcome;
use crate::disk::{Disk, succeeds};
use crate::full::{ends_with, url};

type Test = fn(&Disk) -> Outcome;

pub(crate) const ON_BTRFS: [(&str, Test); 3] = [
    ("a_copy_with_copy_on_write_is_refused", a_copy_with_copy_on_write_is_refused),
    ("a_caller_can_insist", a_caller_can_insist),
    ("a_store_in_a_compressed_directory_is_not_compressed", a_store_in_a_compressed_directory_is_not_compressed),
];

fn a_copy_with_copy_on_write_is_refused(disk: &Disk) -> Outcome {
    let [store, copy] = ["store", "copy"].map(|name| disk.path().join(name));
    for scheme in ["shm", "sem", "posix-sem"] {
        ends_with(&[0], &url(scheme, &store), &["create"])?;
        io::copy(&mut File::open(&store)?, &mut OpenOptions::new().write(true).create_new(true).open(&copy)?)?;
        for command in [&["list"][..], &["run", "3", "--", "true"], &["allocate"]] {
            let said = ends_with(&[69], &url(scheme, &copy), command)?;
            if !(said.contains(&copy.display().to_string()) && said.contains("copied on write")) {
                return Err(format!("{said:?}").into());
            }
        }
        fs::remove_file(&copy)?;
        ends_with(&[0], &url(scheme, &store), &["destroy", "--yes"])?;
    }
    Ok(())
}

fn a_caller_can_insist(disk: &Disk) -> Outcome {
    let store = disk.path().join("store");
    ends_with(&[0], &url("shm", &store), &["create"])?;
    let bytes = fs::read(&store)?;
    fs::remove_file(&store)?;
    fs::write(&store, bytes)?;
    succeeds(Command::new("chmod").arg("600").arg(&store))?;
    ends_with(&[69], &url("shm", &store), &["list"])?;
    ends_with(&[0], &format!("{}?filesystem=any", url("shm", &store)), &["destroy", "--yes"])?;
    Ok(())
}

fn a_store_in_a_compressed_directory_is_not_compressed(disk: &Disk) -> Outcome {
    let directory = disk.path().join("compressed");
    fs::create_dir(&directory)?;
    succeeds(Command::new("chattr").arg("+c").arg(&directory))?;
    ends_with(&[0], &url("shm", &directory.join("store")), &["run", "3", "--", "true"])?;
    Ok(())
}

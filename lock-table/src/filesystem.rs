//! The file systems that a store may be on.
//!
//! A store is a mapped file with file locks. Its processes exclude each other only if the kernel keeps one copy of the file's pages and
//! one list of its locks for all of them. [`KINDS`] lists the known file systems. A kind is either local to this machine, or shared with
//! other machines or with a program. Shared kinds are refused, unless the caller accepts them ([`Accept::Any`]).
//!
//! | refused | kinds | why |
//! |---|---|---|
//! | [network](Sharing::Network) | NFS, SMB and CIFS, AFS, Coda, Ceph, OrangeFS, PanFS, NCP, IBRIX | each machine maps a separate copy |
//! | [cluster](Sharing::Cluster) | GFS2, OCFS2, Lustre, GPFS, BeeGFS, VxFS, ACFS, StorNext | a process of another machine cannot be proved alive or dead |
//! | [host](Sharing::Host) | 9p, vboxsf, vmhgfs, Parallels, hostfs | the host and its guests map separate copies |
//! | [program](Sharing::Program) | FUSE | a program stores the file, perhaps for several machines: GlusterFS, SSHFS, virtiofs, JuiceFS, S3 |
//!
//! virtiofs and the usual mounts of GlusterFS have the magic number of FUSE. An unknown kind is accepted, because most new file systems
//! are local.
//!
//! # Reserved blocks
//! A store reserves blocks before it accesses them, so that a full file system causes an error. A file system with copy-on-write writes
//! each changed block to another place, and needs free blocks for that. If there are none, the writing process is killed by SIGBUS.
//! [`Room`] classifies each kind. On btrfs the file of a store is created without copy-on-write, and a file with copy-on-write is
//! refused. On xfs a file that shares blocks with a reflinked copy gets separate blocks when it is opened.

mod kind;
mod room;

use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::statfs::statfs;

use self::kind::Room::NotSure;
use self::room::check_room;
use lock_core::{Error, ErrorKind, Result};

pub use self::kind::{Accept, KINDS, Kind, Place, Room, Sharing};
pub(crate) use self::room::{keep_room, unshare};

/// Describes the file system of a path in a few words, for display.
pub fn describe(path: &Path) -> String {
    let magic = match statfs(path) {
        Ok(found) => found.filesystem_type().0 as u32,
        Err(errno) => return errno.desc().to_owned(),
    };
    match Kind::find(magic) {
        Some(Kind { name, place: Place::Machine(NotSure), .. }) => {
            format!("{name} (if it is full, SIGBUS can kill a process)")
        }
        Some(Kind { name, .. }) => (*name).to_owned(),
        None => format!("unknown ({magic:#x})"),
    }
}

/// Checks that the store with this path may be created in a directory.
///
/// A missing directory is not an error.
///
/// # Errors
/// Those of [`check`].
pub(crate) fn check_directory(directory: &Path, store: &Path, accept: Accept) -> Result<()> {
    match shared_kind(directory) {
        Some(kind) if accept == Accept::Suitable => refuse_shared(kind, store),
        _ => Ok(()),
    }
}

/// Returns the kind of the file system of a path, if it is shared.
pub(crate) fn shared_kind(path: &Path) -> Option<&'static Kind> {
    let found = statfs(path).ok()?;
    Kind::find(found.filesystem_type().0 as u32).filter(|kind| matches!(kind.place, Place::Shared(_)))
}

/// Adds advice to an [`Absent`](ErrorKind::Absent) error whose directory is on a file system that refuses stores.
#[must_use]
pub fn advise_on_absent(error: Error, file: &Path) -> Error {
    let is_absent = matches!(error.kind(), ErrorKind::Absent);
    match file.parent().filter(|_| is_absent).and_then(shared_kind) {
        Some(kind) => {
            let (file, kind) = (file.display(), kind.name);
            error.advise(format!("{file} does not exist, and its directory is on {kind}; use a file system of this machine"))
        }
        None => error,
    }
}

/// Checks that a store may be on the file system of an existing file or directory.
///
/// # Errors
/// Those of [`check`]; [`ErrorKind::System`] when `statfs(2)` fails.
pub fn check_path(path: &Path, accept: Accept) -> Result<()> {
    let found = statfs(path).map_err(|errno| Error::system("statfs", errno))?;
    match (Kind::find(found.filesystem_type().0 as u32), accept) {
        (Some(kind), Accept::Suitable) => refuse_shared(kind, path),
        _ => Ok(()),
    }
}

/// Checks that a store may be on the file system of an open file or directory.
///
/// `path` is for the error message.
///
/// # Errors
/// [`ErrorKind::Unsupported`] with the path, the kind of file system, and advice.
pub fn check(file: impl AsFd, path: &Path, accept: Accept) -> Result<()> {
    match (Kind::of(file)?, accept) {
        (Some(kind), Accept::Suitable) => refuse_shared(kind, path),
        _ => Ok(()),
    }
}

fn refuse_shared(kind: &Kind, path: &Path) -> Result<()> {
    let Place::Shared(sharing) = kind.place else { return Ok(()) };
    Err(Error::unsupported(format!(
        "{} is on {}: {}; use a file system of this machine, or add filesystem=any if no other machine uses the store",
        path.display(),
        kind.name,
        sharing.reason()
    )))
}

/// Checks the file system of a store's file, and that its reserved blocks stay reserved.
///
/// Returns the kind of the file system, or `None` if it is unknown or if the caller accepts any.
///
/// # Errors
/// Those of [`check`] and [`check_room`].
pub(crate) fn check_file(file: impl AsFd, path: &Path, accept: Accept) -> Result<Option<&'static Kind>> {
    if accept == Accept::Any {
        return Ok(None);
    }
    let Some(kind) = Kind::of(&file)? else { return Ok(None) };
    refuse_shared(kind, path)?;
    check_room(kind, file, path)?;
    Ok(Some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::ErrorDetails;
    use nix::sys::statfs;
    use rstest::rstest;

    #[rstest]
    #[case(statfs::NFS_SUPER_MAGIC.0 as u32, "NFS")]
    #[case(statfs::SMB_SUPER_MAGIC.0 as u32, "SMB")]
    #[case(statfs::CODA_SUPER_MAGIC.0 as u32, "Coda")]
    #[case(statfs::AFS_SUPER_MAGIC.0 as u32, "AFS")]
    #[case(statfs::FUSE_SUPER_MAGIC.0 as u32, "FUSE")]
    #[case(0x0102_1997, "9p")]
    #[case(0x0116_1970, "GFS2")]
    #[case(0x0bd0_0bd0, "Lustre")]
    fn a_shared_file_system_is_refused_by_path_and_name(#[case] magic: u32, #[case] name: &str) {
        let error = refuse_shared(Kind::find(magic).unwrap(), Path::new("/mnt/store")).unwrap_err();
        let ErrorDetails::Unsupported { reason, .. } = error.details() else { panic!("{error}") };
        assert!(reason.starts_with(&format!("/mnt/store is on {name}: ")), "{reason}");
        assert!(reason.contains("filesystem=any"), "{reason}");
    }

    #[rstest]
    #[case(statfs::EXT4_SUPER_MAGIC.0 as u32)]
    #[case(statfs::TMPFS_MAGIC.0 as u32)]
    #[case(statfs::BTRFS_SUPER_MAGIC.0 as u32)]
    #[case(0x5846_5342)]
    #[case(statfs::OVERLAYFS_SUPER_MAGIC.0 as u32)]
    fn a_file_system_of_this_machine_is_accepted(#[case] magic: u32) {
        refuse_shared(Kind::find(magic).unwrap(), Path::new("/store")).unwrap();
    }

    #[test]
    fn an_unknown_file_system_is_accepted() {
        assert_eq!(Kind::find(0x1234), None);
    }

    #[test]
    fn each_number_and_each_name_is_listed_once() {
        let mut numbers: Vec<_> = KINDS.iter().map(|kind| kind.magic).collect();
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        numbers.sort_unstable();
        names.sort_unstable();
        numbers.dedup();
        names.dedup();
        assert_eq!((numbers.len(), names.len()), (KINDS.len(), KINDS.len()));
    }

    #[test]
    fn the_documentation_names_each_shared_kind() {
        let documentation = include_str!("filesystem.rs");
        let table: String = documentation.lines().take_while(|line| line.starts_with("//!")).collect();
        for kind in KINDS.iter().filter(|kind| matches!(kind.place, Place::Shared(_))) {
            let name = kind.name.trim_end_matches('2').trim_start_matches('k');
            assert!(table.contains(name), "{}", kind.name);
        }
    }

    #[test]
    fn the_only_value_of_the_option_is_any() {
        assert_eq!("any".parse(), Ok(Accept::Any));
        assert!("nfs".parse::<Accept>().is_err());
    }
}

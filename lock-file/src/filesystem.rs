use std::path::Path;

use lock_core::{Error, Result};
use nix::sys::statfs::statfs;

/// Whether several machines can use a file system at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    Machine,
    Network,
}

/// Magic numbers of file systems, from `statfs(2)` and the kernel's `linux/magic.h`.
const KNOWN: &[(u32, &str, Reach)] = &[
    (0x0102_1994, "tmpfs", Reach::Machine),
    (0xef53, "ext4", Reach::Machine),
    (0x5846_5342, "xfs", Reach::Machine),
    (0x9123_683e, "btrfs", Reach::Machine),
    (0x2fc1_2fc1, "zfs", Reach::Machine),
    (0xf2f5_2010, "f2fs", Reach::Machine),
    (0x794c_7630, "overlayfs", Reach::Machine),
    (0x6969, "NFS", Reach::Network),
    (0x517b, "SMB", Reach::Network),
    (0xff53_4d42, "CIFS", Reach::Network),
    (0xfe53_4d42, "SMB2", Reach::Network),
    (0x00c3_6400, "Ceph", Reach::Network),
    (0x5346_414f, "AFS", Reach::Network),
    (0x6b41_4653, "kAFS", Reach::Network),
    (0x7375_7245, "Coda", Reach::Network),
];

/// The name of the file system that a directory is on.
pub(crate) fn name(path: &Path) -> String {
    match magic(path) {
        Ok(magic) => known(magic).map_or_else(|| format!("{magic:#x}"), |(name, _)| name.to_owned()),
        Err(error) => error.to_string(),
    }
}

/// Refuses the file systems that several machines use at the same time: each has a shared mapping of its own, so that they would
/// hand out the same ids.
pub(crate) fn check(path: &Path) -> Result<()> {
    refuse(magic(path)?)
}

fn refuse(magic: u32) -> Result<()> {
    match known(magic) {
        Some((name, Reach::Network)) => Err(Error::unsupported(format!(
            "its directory is on {name}, which machines share without sharing mapped memory, so that two could hand out the same \
             id; use a directory on a file system of this machine"
        ))),
        _ => Ok(()),
    }
}

fn magic(path: &Path) -> Result<u32> {
    let found = statfs(path).map_err(|errno| Error::system("statfs", errno))?;
    // The type is signed and wider on some architectures; the numbers have 32 bits.
    Ok(found.filesystem_type().0 as u32)
}

fn known(magic: u32) -> Option<(&'static str, Reach)> {
    KNOWN.iter().find(|(known, ..)| *known == magic).map(|(_, name, reach)| (*name, *reach))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lock_core::ErrorKind;
    use nix::sys::statfs;
    use rstest::rstest;

    #[rstest]
    #[case(statfs::NFS_SUPER_MAGIC.0 as u32, "NFS")]
    #[case(statfs::SMB_SUPER_MAGIC.0 as u32, "SMB")]
    #[case(statfs::CODA_SUPER_MAGIC.0 as u32, "Coda")]
    #[case(statfs::AFS_SUPER_MAGIC.0 as u32, "AFS")]
    fn a_network_file_system_is_refused_by_name(#[case] magic: u32, #[case] name: &str) {
        let error = refuse(magic).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported { reason } if reason.contains(&format!("on {name},"))), "{error}");
    }

    #[rstest]
    #[case(statfs::EXT4_SUPER_MAGIC.0 as u32)]
    #[case(statfs::TMPFS_MAGIC.0 as u32)]
    #[case(statfs::BTRFS_SUPER_MAGIC.0 as u32)]
    #[case(0x1234)]
    fn a_file_system_of_this_machine_is_not(#[case] magic: u32) {
        refuse(magic).unwrap();
    }

    #[test]
    fn numbers_are_not_listed_twice() {
        let mut numbers: Vec<_> = KNOWN.iter().map(|(magic, ..)| magic).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), KNOWN.len());
    }
}

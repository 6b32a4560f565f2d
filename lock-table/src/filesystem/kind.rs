//! The file systems that are known.

use std::os::fd::AsFd;
use std::str::FromStr;

use lock_core::{Error, Result};
use nix::sys::statfs::fstatfs;

use self::Room::{Kept, KeptUnlessReflinked, KeptWithoutCopyOnWrite, NotSure};
use self::Sharing::{Cluster, Host, Network, Program};

/// A file system that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    pub(super) magic: u32,
    pub(super) name: &'static str,
    pub(super) place: Place,
}

/// The machines and programs that share a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// This machine alone.
    Machine(Room),
    /// Others, too.
    Shared(Sharing),
}

/// Whether writing to blocks that were reserved needs more blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// It does not.
    Kept,
    /// It does for blocks that a reflinked copy shares. They can be made the file's own again.
    KeptUnlessReflinked,
    /// It does not for a file without copy-on-write (`chattr +C`), unless a snapshot or a copy shares its blocks.
    KeptWithoutCopyOnWrite,
    /// It may: a full file system can end a process with SIGBUS.
    NotSure,
}

/// Why a file system is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// Machines map separate copies.
    Network,
    /// Machines share the file, and do not see each other's processes.
    Cluster,
    /// The host and its guests share it.
    Host,
    /// A program provides it.
    Program,
}

impl Sharing {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Network => "machines share it without sharing mapped memory, so that two could hand out the same ids",
            Self::Cluster => "machines share it, and one cannot see whether an owner on another lives",
            Self::Host => "the host and its guests share it without sharing mapped memory",
            Self::Program => "a program provides it, which may not keep mapped memory and file locks the same for all processes",
        }
    }
}

const fn local(magic: u32, name: &'static str, room: Room) -> Kind {
    Kind { magic, name, place: Place::Machine(room) }
}

const fn shared(magic: u32, name: &'static str, sharing: Sharing) -> Kind {
    Kind { magic, name, place: Place::Shared(sharing) }
}

/// The known file systems. The numbers are from `statfs(2)`, the kernel's `linux/magic.h` and coreutils' `stat.c`.
pub const KINDS: &[Kind] = &[
    local(0x0102_1994, "tmpfs", Kept),
    local(0x8584_58f6, "ramfs", Kept),
    local(0xef53, "ext4", Kept),
    local(0x5846_5342, "xfs", KeptUnlessReflinked),
    local(0x9123_683e, "btrfs", KeptWithoutCopyOnWrite),
    // Compressed files and checkpoints need new blocks.
    local(0xf2f5_2010, "f2fs", NotSure),
    local(0xca45_1a4e, "bcachefs", NotSure),
    local(0x2fc1_2fc1, "zfs", NotSure),
    // The room is that of the file system below, which is not visible.
    local(0x794c_7630, "overlayfs", NotSure),
    local(0xf15f, "ecryptfs", NotSure),
    shared(0x6969, "NFS", Network),
    shared(0x517b, "SMB", Network),
    shared(0xff53_4d42, "CIFS", Network),
    shared(0xfe53_4d42, "SMB2", Network),
    shared(0x00c3_6400, "Ceph", Network),
    shared(0x5346_414f, "AFS", Network),
    shared(0x6b41_4653, "kAFS", Network),
    shared(0x7375_7245, "Coda", Network),
    shared(0x2003_0528, "OrangeFS", Network),
    shared(0xaad7_aaea, "PanFS", Network),
    shared(0x564c, "NCP", Network),
    shared(0x0131_11a8, "IBRIX", Network),
    shared(0x0116_1970, "GFS2", Cluster),
    shared(0x7461_636f, "OCFS2", Cluster),
    shared(0x0bd0_0bd0, "Lustre", Cluster),
    shared(0x4750_4653, "GPFS", Cluster),
    shared(0x1983_0326, "BeeGFS", Cluster),
    shared(0xa501_fcf5, "VxFS", Cluster),
    shared(0x6163_6673, "ACFS", Cluster),
    shared(0xbeef_dead, "StorNext", Cluster),
    shared(0x0102_1997, "9p", Host),
    shared(0x786f_4256, "vboxsf", Host),
    shared(0xbacb_acbc, "vmhgfs", Host),
    shared(0x7c7c_6673, "Parallels", Host),
    shared(0x00c0_ffee, "hostfs", Host),
    shared(0x6573_5546, "FUSE", Program),
];

/// Which file systems a caller accepts: the option `filesystem=any` of a store's URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Accept {
    /// Those on which a store excludes all its processes.
    #[default]
    Suitable,
    /// Any: the caller knows that one machine uses the store, or accepts that a full file system can end a process.
    Any,
}

impl FromStr for Accept {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" { Ok(Self::Any) } else { Err("the only value is `any`; write that, or leave the option out") }
    }
}

impl Kind {
    /// The kind of an open file's file system; `None` for an unknown one.
    ///
    /// # Errors
    /// What `fstatfs(2)` says.
    pub fn of(file: impl AsFd) -> Result<Option<&'static Self>> {
        let found = fstatfs(file).map_err(|errno| Error::system("fstatfs", errno))?;
        Ok(Self::find(found.filesystem_type().0 as u32))
    }

    /// The kind with this magic number of `statfs(2)`.
    pub fn find(magic: u32) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.magic == magic)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The machines and programs that share it.
    pub fn place(&self) -> Place {
        self.place
    }
}

//! The known file systems.

use std::os::fd::AsFd;
use std::str::FromStr;

use lock_core::{Error, Result};
use nix::sys::statfs::fstatfs;

use self::Room::{Kept, KeptUnlessReflinked, KeptWithoutCopyOnWrite, NotSure};
use self::Sharing::{Cluster, Host, Network, Program};

/// A known file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    pub(super) magic: u32,
    pub(super) name: &'static str,
    pub(super) place: Place,
}

/// The scope of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is local to this machine.
    Machine(Room),
    /// Other machines or a program share it.
    Shared(Sharing),
}

/// The effect of writing to reserved blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// A write needs no other blocks.
    Kept,
    /// A write needs other blocks if a reflinked copy shares them. The file can get separate blocks (`FALLOC_FL_UNSHARE_RANGE`).
    KeptUnlessReflinked,
    /// A write needs no other blocks in a file without copy-on-write (`chattr +C`), unless a snapshot or a copy shares them.
    KeptWithoutCopyOnWrite,
    /// A write may need other blocks. If there are none, SIGBUS kills the process.
    NotSure,
}

/// The reason why a file system is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// Machines map separate copies.
    Network,
    /// Machines share the file and cannot see each other's processes.
    Cluster,
    /// The host and its guests map separate copies.
    Host,
    /// A program stores the file.
    Program,
}

impl Sharing {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Network => "machines that share it do not share mapped memory, so that two could allocate the same id",
            Self::Cluster => "a machine cannot determine whether an owner on another machine is alive",
            Self::Host => "the host and its guests do not share mapped memory",
            Self::Program => "a program stores the files, and may not give all processes the same mapped memory and file locks",
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
    // Writes to compressed files and checkpoints need other blocks.
    local(0xf2f5_2010, "f2fs", NotSure),
    local(0xca45_1a4e, "bcachefs", NotSure),
    local(0x2fc1_2fc1, "zfs", NotSure),
    // Depends on the file system below, which cannot be queried.
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

/// The file systems that a caller accepts: the option `filesystem=any` of a store's URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Accept {
    /// Those that are not refused.
    #[default]
    Suitable,
    /// All. The caller ensures that only one machine uses the store, and accepts that SIGBUS kills a process on a full file system.
    Any,
}

impl FromStr for Accept {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" { Ok(Self::Any) } else { Err("the only value is `any`; write filesystem=any or omit the option") }
    }
}

impl Kind {
    /// Returns the kind of the file system of an open file, or `None` if it is unknown.
    ///
    /// # Errors
    /// [`ErrorKind::System`](lock_core::ErrorKind::System) when `fstatfs(2)` fails.
    pub fn of(file: impl AsFd) -> Result<Option<&'static Self>> {
        let found = fstatfs(file).map_err(|errno| Error::system("fstatfs", errno))?;
        Ok(Self::find(found.filesystem_type().0 as u32))
    }

    /// Returns the kind with this magic number (`f_type` of statfs(2)).
    pub fn find(magic: u32) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.magic == magic)
    }

    /// Returns the name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the scope.
    pub fn place(&self) -> Place {
        self.place
    }
}

//! A file system in an image, mounted for one thread and the processes that it starts.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use libtest_mimic::Failed;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, syncfs};
use tempfile::TempDir;

/// Size of an image, enough for every `mkfs`.
const BYTES: u64 = 320 << 20;

/// Sizes of the pieces that fill a disk.
const PIECES: [i64; 4] = [64 << 20, 1 << 20, 64 << 10, 4 << 10];

/// A kind of file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Btrfs,
    Xfs,
    Ext4,
    Tmpfs,
    /// A directory through the FUSE program `bindfs`.
    Fuse,
}

/// A mounted file system.
pub(crate) struct Disk {
    directory: PathBuf,
}

impl Kind {
    /// The kinds that accept a store.
    pub(crate) const SUITABLE: [Self; 4] = [Self::Btrfs, Self::Xfs, Self::Ext4, Self::Tmpfs];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs",
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
            Self::Tmpfs => "tmpfs",
            Self::Fuse => "fuse",
        }
    }

    /// Whether it limits the number of files.
    pub(crate) fn has_inode_limit(self) -> bool {
        matches!(self, Self::Ext4 | Self::Tmpfs)
    }

    /// Returns the reason why this machine cannot test it.
    pub(crate) fn lacks(self) -> Option<String> {
        if !Uid::effective().is_root() {
            return Some("needs root".to_owned());
        }
        if self == Self::Btrfs && !is_linux_6_16() {
            return Some("needs Linux 6.16, which keeps the room of mapped files without copy-on-write".to_owned());
        }
        let tool = match self {
            Self::Tmpfs => None,
            Self::Fuse => Some("bindfs".to_owned()),
            _ => Some(format!("mkfs.{}", self.name())),
        };
        if let Some(tool) = tool.filter(|tool| which(tool).is_none()) {
            return Some(format!("lacks {tool}"));
        }
        self.mounted(|_| Ok(())).is_err().then(|| format!("lacks mounts of {}", self.name()))
    }

    /// Runs a test on a new file system of this kind.
    pub(crate) fn mounted(self, test: impl FnOnce(&Disk) -> Result<(), Failed> + Send) -> Result<(), Failed> {
        // The mount and the semaphore sets are in namespaces of the thread, which end with the thread.
        thread::scope(|scope| scope.spawn(move || self.mounted_here(test)).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn mounted_here(self, test: impl FnOnce(&Disk) -> Result<(), Failed>) -> Result<(), Failed> {
        let scratch = tempfile::Builder::new().prefix("lockctl-test-").tempdir()?;
        let disk = Disk { directory: scratch.path().join("mounted") };
        fs::create_dir(&disk.directory)?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        self.mount(&scratch, &disk.directory)?;
        let done = test(&disk);
        umount2(&disk.directory, MntFlags::MNT_DETACH)?;
        done
    }

    fn mount(self, scratch: &TempDir, directory: &Path) -> Result<(), Failed> {
        if self == Self::Tmpfs {
            return Ok(mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some("size=32m,nr_inodes=400"))?);
        }
        if self == Self::Fuse {
            let source = scratch.path().join("source");
            fs::create_dir(&source)?;
            return succeeds(Command::new("bindfs").args([&source, directory]));
        }
        let image = scratch.path().join("image");
        File::create(&image)?.set_len(BYTES)?;
        let make: &[&str] = match self {
            // One copy of the metadata, because two take most of a small disk.
            Self::Btrfs => &["-q", "-m", "single"],
            Self::Ext4 => &["-q", "-N", "400"],
            _ => &["-q"],
        };
        succeeds(Command::new(format!("mkfs.{}", self.name())).args(make).arg(&image))?;
        succeeds(Command::new("mount").args(["-t", self.name(), "-o", "loop"]).arg(&image).arg(directory))
    }
}

impl Disk {
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// The directory behind a FUSE mount.
    pub(crate) fn source(&self) -> PathBuf {
        self.directory.with_file_name("source")
    }

    /// Writes back all pages, so that the next write to each page needs the file system again.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(syncfs(File::open(&self.directory)?)?)
    }

    /// Fills the disk, first by reservations and then by bytes. Repeats that, because the file system frees space when it writes back.
    pub(crate) fn fill(&self) -> io::Result<()> {
        // Creates the files first: a full file system may have no room for a name.
        let files: Vec<_> =
            PIECES.iter().map(|bytes| File::create(self.directory.join(format!("full{bytes}")))).collect::<Result<_, _>>()?;
        for _ in 0..4 {
            for (file, bytes) in files.iter().zip(PIECES) {
                reserve_all(file, bytes)?;
            }
            write_all(&files[3])?;
            self.sync()?;
        }
        Ok(())
    }

    /// Frees the space that [`fill`](Self::fill) has used.
    pub(crate) fn empty(&self) -> io::Result<()> {
        for bytes in PIECES {
            fs::remove_file(self.directory.join(format!("full{bytes}")))?;
        }
        self.sync()
    }

    /// Uses all inodes.
    pub(crate) fn fill_with_files(&self) -> io::Result<()> {
        for number in 0.. {
            match File::create(self.directory.join(format!("file{number}"))) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOSPC as i32) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Extends the file by reserved pieces until the disk is full.
fn reserve_all(file: &File, bytes: i64) -> io::Result<()> {
    loop {
        let end = file.metadata()?.len().cast_signed();
        match fallocate(file, FallocateFlags::empty(), end, bytes) {
            Ok(()) | Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Extends the file by bytes until the disk is full.
fn write_all(file: &File) -> io::Result<()> {
    loop {
        let end = file.metadata()?.len();
        match file.write_at(&[1; 4096], end) {
            Ok(1..) => {}
            _ => return Ok(()),
        }
    }
}

/// Runs a program that must exit with 0.
pub(crate) fn succeeds(command: &mut Command) -> Result<(), Failed> {
    let Output { status, stderr, .. } = command.stdin(Stdio::null()).output()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {status}: {}", String::from_utf8_lossy(&stderr)).into())
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.exists())
}

fn is_linux_6_16() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(16))
}

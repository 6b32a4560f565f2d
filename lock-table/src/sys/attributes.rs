//! The attributes of a file (chattr(1), ioctl_iflags(2)).

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

// From the kernel's `linux/fs.h`.
const FS_COMPR_FL: libc::c_int = 0x0000_0004;
const FS_NOCOMP_FL: libc::c_int = 0x0000_0400;
const FS_NOCOW_FL: libc::c_int = 0x0080_0000;

/// Disables copy-on-write and compression of an empty file (`chattr -c +C`).
pub(crate) fn switch_copy_on_write_off(file: impl AsFd) -> Result<(), Errno> {
    let inherited = get(&file)?;
    let attributes = inherited & !(FS_COMPR_FL | FS_NOCOMP_FL);
    // btrfs refuses both changes in one call.
    if attributes != inherited {
        set(&file, attributes)?;
    }
    set(&file, attributes | FS_NOCOW_FL)?;
    // On a file that is not empty the call succeeds without effect.
    if is_copied_on_write(file) { Err(Errno::EOPNOTSUPP) } else { Ok(()) }
}

/// Returns true if the file is copied on write, or if the file system does not support the attribute.
pub(crate) fn is_copied_on_write(file: impl AsFd) -> bool {
    !get(file).is_ok_and(|attributes| attributes & FS_NOCOW_FL != 0)
}

fn set(file: impl AsFd, attributes: libc::c_int) -> Result<(), Errno> {
    // SAFETY: the call reads one `int`, although its definition says `long`, and `attributes` lives until the call returns.
    Errno::result(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const attributes) }).map(drop)
}

fn get(file: impl AsFd) -> Result<libc::c_int, Errno> {
    let mut attributes: libc::c_int = 0;
    // SAFETY: the call writes one `int`, although its definition says `long`, and `attributes` lives until the call returns.
    Errno::result(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut attributes) })?;
    Ok(attributes)
}

//! Reservation of the blocks of a file before they are accessed.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::fstat;

use lock_core::{Error, Result};

/// Reserves blocks for a range of the file, and extends the file if necessary (fallocate(2)).
///
/// Existing content is kept. Afterwards an access to the range through a mapping cannot cause a SIGBUS for lack of space.
pub(crate) fn back(file: impl AsFd, offset: u64, bytes: u64) -> Result<()> {
    let (Ok(offset), Ok(bytes)) = (i64::try_from(offset), i64::try_from(bytes)) else {
        return Err(Error::system("fallocate", Errno::EFBIG));
    };
    check_limit(&file, (offset + bytes).unsigned_abs())?;
    loop {
        match fallocate(&file, FallocateFlags::empty(), offset, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::EOPNOTSUPP) => {
                return Err(Error::unsupported(
                    "the file system cannot reserve space (fallocate); use tmpfs, ext4, xfs or btrfs",
                ));
            }
            Err(errno) => return Err(Error::system("fallocate", errno)),
        }
    }
}

/// Checks that RLIMIT_FSIZE lets this process extend the file to this length.
///
/// Without the check, a process that exceeds the limit is killed by SIGXFSZ.
pub(crate) fn check_limit(file: impl AsFd, end: u64) -> Result<()> {
    let limit = getrlimit(Resource::RLIMIT_FSIZE).map_err(|errno| Error::system("getrlimit", errno))?.0;
    let within = end <= limit || end <= fstat(file).map_err(|e| Error::system("fstat", e))?.st_size.unsigned_abs();
    if within { Ok(()) } else { Err(Error::system("fallocate", Errno::EFBIG)) }
}

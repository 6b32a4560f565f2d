//! The blocks that a file shares with other files, such as reflinked copies and snapshots.
//!
//! The call is documented in the kernel's `filesystems/fiemap`.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

// From the kernel's `linux/fiemap.h`.
const FS_IOC_FIEMAP: u32 = 0xc020_660b;
const FIEMAP_EXTENT_LAST: u32 = 0x1;
const FIEMAP_EXTENT_SHARED: u32 = 0x2000;

/// The number of extents per call.
const EXTENTS: usize = 64;

/// `struct fiemap_extent` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap` of the kernel, with space for extents.
#[repr(C)]
struct Map {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [Extent; EXTENTS],
}

/// Returns the ranges of a file, in bytes, whose blocks other files share.
///
/// # Errors
/// EOPNOTSUPP when the file system does not support the call.
pub(crate) fn shared_ranges(file: impl AsFd) -> Result<Vec<Range<u64>>, Errno> {
    let mut shared = Vec::new();
    let mut start = 0;
    loop {
        let map = read(&file, start)?;
        let extents = &map.extents[..EXTENTS.min(map.mapped_extents as usize)];
        let ranges = extents.iter().filter(|extent| extent.flags & FIEMAP_EXTENT_SHARED != 0);
        shared.extend(ranges.map(|extent| extent.logical..extent.logical.saturating_add(extent.length)));
        match extents.last() {
            Some(last) if last.flags & FIEMAP_EXTENT_LAST == 0 && last.length > 0 => {
                start = last.logical.saturating_add(last.length);
            }
            _ => return Ok(shared),
        }
    }
}

fn read(file: impl AsFd, start: u64) -> Result<Box<Map>, Errno> {
    let mut map = Box::new(Map {
        start,
        length: u64::MAX - start,
        flags: 0,
        mapped_extents: 0,
        extent_count: EXTENTS as u32,
        reserved: 0,
        extents: [Extent::default(); EXTENTS],
    });
    // SAFETY: `map` has the layout of `struct fiemap`, followed by `extent_count` extents. The kernel writes only these.
    Errno::result(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), FS_IOC_FIEMAP as _, &raw mut *map) })?;
    Ok(map)
}

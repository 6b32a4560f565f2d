//! IPC namespaces.
//!
//! The id of a semaphore set is valid in one IPC namespace until the next boot of the system.

use std::fs;
use std::os::unix::fs::MetadataExt;

use lock_core::{Error, Result};

use crate::sys;
use lock_table::hash::fnv1a_32;

/// An IPC namespace and the boot of the system, as hashes in one word. Zero is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IpcNamespace(u64);

impl IpcNamespace {
    /// Returns the IPC namespace of the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) if `/proc` is not mounted and the kernel is older than Linux
    /// 6.11.
    pub(crate) fn of_this_thread() -> Result<Self> {
        Ok(Self::new(boot(), current_namespace()?))
    }

    /// `boot` is 0 if it is unknown.
    const fn new(boot: u32, namespace: u32) -> Self {
        Self((boot as u64) << 32 | namespace as u64)
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    const fn boot(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn namespace(self) -> u32 {
        self.0 as u32
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Checks whether both are the same IPC namespace. An unknown boot equals every boot.
    pub(crate) const fn is_same_as(self, other: Self) -> bool {
        self.namespace() == other.namespace() && !self.is_of_another_boot(other)
    }

    /// Checks whether both boots are known and differ.
    ///
    /// Then the sets of the earlier boot do not exist anymore.
    pub(crate) const fn is_of_another_boot(self, other: Self) -> bool {
        self.boot() != 0 && other.boot() != 0 && self.boot() != other.boot()
    }

    /// Returns this IPC namespace, with the boot of `other` if its own is unknown.
    pub(crate) const fn with_boot_of(self, other: Self) -> Self {
        if self.boot() == 0 { Self::new(other.boot(), self.namespace()) } else { self }
    }

    /// Checks whether the calling thread is in this IPC namespace.
    ///
    /// # Errors
    /// Those of [`IpcNamespace::of_this_thread`].
    pub(crate) fn is_current(self) -> Result<bool> {
        Ok(current_namespace()? == self.namespace())
    }
}

/// Returns a hash of the boot id, or 0 if it is unknown.
///
/// The option `ProcSubset=pid` of systemd hides the boot id.
fn boot() -> u32 {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or(0, |id| fnv1a_32(id.bytes()) | 1)
}

/// Returns a hash of the calling thread's IPC namespace, which is never 0.
fn current_namespace() -> Result<u32> {
    let (device, inode) = match fs::metadata("/proc/thread-self/ns/ipc") {
        Ok(namespace) => (namespace.dev(), namespace.ino()),
        Err(_) => sys::ipc_namespace_of_this_thread().map_err(|_| unknown())?,
    };
    Ok(fnv1a_32(device.to_ne_bytes().into_iter().chain(inode.to_ne_bytes())) | 1)
}

fn unknown() -> Error {
    Error::unsupported("the IPC namespace of this thread is unknown; mount /proc, or use Linux 6.11 or newer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_boot_equals_every_boot() {
        let [a, b, unknown] = [1, 2, 0].map(|boot| IpcNamespace::new(boot, 7));
        assert!(a.is_of_another_boot(b) && !a.is_same_as(b));
        for (one, other) in [(a, unknown), (unknown, b), (unknown, unknown)] {
            assert!(one.is_same_as(other) && !one.is_of_another_boot(other));
        }
        assert!(!a.is_same_as(IpcNamespace::new(1, 9)) && !a.is_same_as(IpcNamespace::new(0, 9)));
        assert_eq!((unknown.with_boot_of(a), a.with_boot_of(b), a.with_boot_of(unknown)), (a, a, a));
    }

    #[test]
    fn a_thread_is_in_its_current_namespace() {
        let current = IpcNamespace::of_this_thread().unwrap();
        assert_eq!(current, IpcNamespace::of_this_thread().unwrap());
        assert!(!current.is_none() && current.is_current().unwrap());
        assert!(!IpcNamespace::new(current.boot(), current.namespace() ^ 2).is_current().unwrap());
    }

    #[test]
    fn the_kernel_reports_the_namespace_without_proc() {
        // Supported since Linux 6.11.
        if let Ok(reported) = sys::ipc_namespace_of_this_thread() {
            let namespace = fs::metadata("/proc/thread-self/ns/ipc").unwrap();
            assert_eq!(reported, (namespace.dev(), namespace.ino()));
        }
    }
}

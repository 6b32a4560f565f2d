//! Where semaphore sets are: in a boot of the system, and in one of its IPC namespaces. Elsewhere, their numbers mean other sets
//! or none.

use std::fs;
use std::os::unix::fs::MetadataExt;

use lock_core::{Error, Result};

use crate::hash::fnv32;
use crate::sys;

/// A boot of the system and an IPC namespace, in a word. Zero is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(u64);

impl Place {
    /// The place of the calling thread.
    ///
    /// # Errors
    /// Where the system does not say what the thread's IPC namespace is.
    pub(crate) fn of_this_thread() -> Result<Self> {
        Ok(Self::new(boot(), namespace_of_this_thread()?))
    }

    /// `boot` is 0 where it is not known.
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

    /// Whether both are in one IPC namespace, and not in two boots. A boot that is not known may be the other's.
    pub(crate) const fn is_same_as(self, other: Self) -> bool {
        self.namespace() == other.namespace() && !self.is_of_another_boot(other)
    }

    /// Whether they are known to be in two boots, so that nothing of the other one is left.
    pub(crate) const fn is_of_another_boot(self, other: Self) -> bool {
        self.boot() != 0 && other.boot() != 0 && self.boot() != other.boot()
    }

    /// The same place, with the boot of the other one if its own is not known.
    pub(crate) const fn with_boot_of(self, other: Self) -> Self {
        if self.boot() == 0 { Self::new(other.boot(), self.namespace()) } else { self }
    }

    /// Whether the calling thread is in the IPC namespace.
    ///
    /// # Errors
    /// Those of [`Place::of_this_thread`].
    pub(crate) fn is_namespace_of_this_thread(self) -> Result<bool> {
        Ok(namespace_of_this_thread()? == self.namespace())
    }
}

/// A number for the boot of the system, 0 where it is not known: `ProcSubset=pid` of systemd hides it.
fn boot() -> u32 {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or(0, |id| fnv32(id.bytes()) | 1)
}

/// A number for the IPC namespace, never 0.
fn namespace_of_this_thread() -> Result<u32> {
    let (device, inode) = match fs::metadata("/proc/thread-self/ns/ipc") {
        Ok(namespace) => (namespace.dev(), namespace.ino()),
        Err(_) => sys::ipc_namespace_of_this_thread().map_err(|_| unknown())?,
    };
    Ok(fnv32(device.to_ne_bytes().into_iter().chain(inode.to_ne_bytes())) | 1)
}

fn unknown() -> Error {
    Error::unsupported("the system does not say in which IPC namespace this thread is; mount /proc, or use Linux 6.11 or newer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_that_is_not_known_is_no_other_boot() {
        let [a, b, unknown] = [1, 2, 0].map(|boot| Place::new(boot, 7));
        assert!(a.is_of_another_boot(b) && !a.is_same_as(b));
        for (one, other) in [(a, unknown), (unknown, b), (unknown, unknown)] {
            assert!(one.is_same_as(other) && !one.is_of_another_boot(other));
        }
        assert!(!a.is_same_as(Place::new(1, 9)) && !a.is_same_as(Place::new(0, 9)));
        assert_eq!((unknown.with_boot_of(a), a.with_boot_of(b), a.with_boot_of(unknown)), (a, a, a));
    }

    #[test]
    fn a_thread_knows_its_place() {
        let place = Place::of_this_thread().unwrap();
        assert_eq!(place, Place::of_this_thread().unwrap());
        assert!(!place.is_none() && place.is_namespace_of_this_thread().unwrap());
        assert!(!Place::new(place.boot(), place.namespace() ^ 2).is_namespace_of_this_thread().unwrap());
    }

    #[test]
    fn the_kernel_tells_the_namespace_without_proc() {
        // Linux 6.11 and newer.
        if let Ok(told) = sys::ipc_namespace_of_this_thread() {
            let namespace = fs::metadata("/proc/thread-self/ns/ipc").unwrap();
            assert_eq!(told, (namespace.dev(), namespace.ino()));
        }
    }
}

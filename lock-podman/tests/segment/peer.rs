//! A segment in a temporary directory, libc's functions on its mutexes, and children that die.

use std::cell::UnsafeCell;
use std::fs::File;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

use lock_core::{Lock, OpenMode, Result, Store, StoreUrl};
use memmap2::{MmapOptions, MmapRaw};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid};
use tempfile::TempDir;

/// A segment with 64 locks, and its file in memory.
pub(super) struct Segment {
    directory: TempDir,
    pub(super) store: Store,
    map: MmapRaw,
}

/// A mutex of libc.
pub(super) struct Mutex(*mut libc::pthread_mutex_t);

impl Segment {
    pub(super) fn new() -> Self {
        Self::with_locks(64)
    }

    pub(super) fn with_locks(locks: u32) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = open(&directory.path().join("segment"), &format!("locks={locks}"), OpenMode::Create).unwrap();
        let file = File::options().read(true).write(true).open(directory.path().join("segment")).unwrap();
        Self { store, map: MmapOptions::new().map_raw(&file).unwrap(), directory }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("segment")
    }

    pub(super) fn lock(&self, id: u32) -> Lock {
        self.store.retrieve(id).unwrap()
    }

    fn at(&self, id: u32) -> usize {
        64 + 1288 * (id as usize / 32) + 40 * (id as usize % 32)
    }

    /// Returns the mutex of a lock.
    pub(super) fn mutex(&self, id: u32) -> Mutex {
        Mutex(self.map.as_mut_ptr().wrapping_add(self.at(id)).cast())
    }

    /// Returns the mutex for allocating.
    pub(super) fn segment_mutex(&self) -> Mutex {
        Mutex(self.map.as_mut_ptr().wrapping_add(8).cast())
    }

    /// Returns a word of the mutex of a lock.
    pub(super) fn word(&self, id: u32, offset: usize) -> &AtomicU32 {
        // SAFETY: the mapping contains the whole file and lives as long as `self`. All accesses are atomic.
        unsafe { &*self.map.as_ptr().add(self.at(id) + offset).cast() }
    }
}

pub(super) fn open(path: &std::path::Path, options: &str, mode: OpenMode) -> Result<Store> {
    let url = StoreUrl::builder("podman").path(path).build()?.to_string();
    let url = if options.is_empty() { url } else { format!("{url}?{options}") };
    Store::with_backend(&lock_podman::BACKEND, &url.parse()?, mode)
}

impl Mutex {
    pub(super) fn lock(&self) -> i32 {
        // SAFETY: the mutex is initialized and stays mapped.
        unsafe { libc::pthread_mutex_lock(self.0) }
    }

    pub(super) fn try_lock(&self) -> i32 {
        // SAFETY: as in `lock`.
        unsafe { libc::pthread_mutex_trylock(self.0) }
    }

    pub(super) fn unlock(&self) -> i32 {
        // SAFETY: as in `lock`.
        unsafe { libc::pthread_mutex_unlock(self.0) }
    }

    pub(super) fn mark_consistent(&self) -> i32 {
        // SAFETY: as in `lock`.
        unsafe { libc::pthread_mutex_consistent(self.0) }
    }

    /// Initializes a mutex as podman does.
    pub(super) fn init(place: *mut u8) -> Self {
        let mutex: *mut libc::pthread_mutex_t = place.cast();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialized by the first call. The place has room for a mutex that no thread uses yet.
        unsafe {
            assert_eq!(libc::pthread_mutexattr_init(attributes.as_mut_ptr()), 0);
            assert_eq!(libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_NORMAL), 0);
            assert_eq!(libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED), 0);
            assert_eq!(libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST), 0);
            assert_eq!(libc::pthread_mutex_init(mutex, attributes.as_ptr()), 0);
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        }
        Self(mutex)
    }
}

/// A robust mutex of the program in memory that children share.
pub(super) struct OwnMutex {
    _map: MmapRaw,
    pub(super) mutex: Mutex,
}

impl OwnMutex {
    pub(super) fn new() -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let map = MmapOptions::new().map_raw(&file).unwrap();
        Self { mutex: Mutex::init(map.as_mut_ptr()), _map: map }
    }
}

/// Runs `act` in a child, which is then killed. Returns its pid.
pub(super) fn kill_after(act: impl FnOnce()) -> u32 {
    // SAFETY: glibc keeps its allocator usable in a child, and the child uses no other lock that a thread of this process may hold.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            act();
            kill(getpid(), Signal::SIGKILL).unwrap();
            unreachable!("the signal cannot be blocked");
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).unwrap();
            assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "the child failed: {status:?}");
            child.as_raw().unsigned_abs()
        }
    }
}

/// A child that runs `act` and then waits for a signal.
pub(super) struct Child(Pid);

impl Child {
    /// Forks a child. `act` has ended, or blocks, some time after that.
    pub(super) fn spawn(act: impl FnOnce()) -> Self {
        // SAFETY: as in `kill_after`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                act();
                // SAFETY: `_exit` ends the child without running destructors or handlers.
                unsafe { libc::_exit(0) };
            }
            ForkResult::Parent { child } => Self(child),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.as_raw().unsigned_abs()
    }

    /// Waits for the end of the child, and returns whether `act` ended.
    pub(super) fn join(self) -> bool {
        let status = waitpid(self.0, None).unwrap();
        std::mem::forget(self);
        matches!(status, WaitStatus::Exited(_, 0))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// Waits until a condition holds.
pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "after a minute, it is not true that {what}");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A buffer that is aligned as a mapping is.
pub(super) struct Aligned(UnsafeCell<Vec<u64>>);

impl Aligned {
    pub(super) fn new(bytes: usize) -> Self {
        Self(UnsafeCell::new(vec![0; bytes / 8]))
    }

    pub(super) fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: no reference to the content exists while the pointer is used.
        unsafe { (*self.0.get()).as_mut_ptr().cast::<u8>().add(offset) }
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().into_iter().flat_map(u64::to_ne_bytes).collect()
    }
}

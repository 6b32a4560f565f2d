//! The unsafe code of the benchmark: bare functions of glibc and the kernel.

use std::fs::File;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use raw_sync::locks::{LockImpl, LockInit};

/// A mapped file, as memory shared between processes.
#[derive(Debug)]
pub(crate) struct Region(MmapRaw);

impl Region {
    /// Creates a region of zeros.
    pub(crate) fn create(path: &Path, bytes: u64) -> Self {
        let file = File::options().read(true).write(true).create_new(true).open(path).expect("a new file");
        file.set_len(bytes).expect("it can be extended");
        Self::map(&file)
    }

    pub(crate) fn open(path: &Path) -> Self {
        Self::map(&File::options().read(true).write(true).open(path).expect("the file is there"))
    }

    fn map(file: &File) -> Self {
        Self(MmapOptions::new().map_raw(file).expect("it can be mapped"))
    }

    pub(crate) fn mutex(&self, offset: usize) -> Mutex<'_> {
        Mutex { pointer: self.at(offset), region: PhantomData }
    }

    pub(crate) fn semaphore(&self, offset: usize) -> Semaphore<'_> {
        Semaphore { pointer: self.at(offset), region: PhantomData }
    }

    /// Creates a mutex of the crate raw_sync at the start of the region.
    pub(crate) fn raw_sync_mutex(&self) -> Box<dyn LockImpl + '_> {
        let needed = raw_sync::locks::Mutex::size_of(Some(self.at(0)));
        assert!(needed <= self.0.len(), "it has room in the region");
        // SAFETY: the region is large enough, aligned to a page, and outlives the mutex. The protected pointer is never dereferenced.
        unsafe { raw_sync::locks::Mutex::new(self.at(0), self.at(0)).expect("a mutex").0 }
    }

    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `at` returns an aligned address inside the mapping, which lives as long as `self`. All bit patterns are valid, and
        // words are only used as atomics.
        unsafe { &*self.at(offset) }
    }

    pub(crate) fn counter(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as in `word`.
        unsafe { &*self.at(offset) }
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.0.len() && offset.is_multiple_of(align_of::<T>()), "a place in the region");
        // SAFETY: the offset is inside the mapping.
        unsafe { self.0.as_mut_ptr().add(offset).cast() }
    }
}

/// A pthread mutex in a region. Zeroed memory is a valid private mutex; `init` makes it shared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutex<'a> {
    pointer: *mut libc::pthread_mutex_t,
    region: PhantomData<&'a Region>,
}

// SAFETY: any thread may call the pthread functions below.
unsafe impl Send for Mutex<'_> {}
// SAFETY: the same.
unsafe impl Sync for Mutex<'_> {}

/// The attributes of a mutex.
pub(crate) struct Attributes(libc::pthread_mutexattr_t);

impl Attributes {
    /// Attributes of a mutex shared between processes, optionally robust.
    pub(crate) fn shared(robust: bool) -> Self {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the first call initialises the attributes that the other calls change.
        unsafe {
            assert_eq!(libc::pthread_mutexattr_init(attributes.as_mut_ptr()), 0);
            assert_eq!(libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED), 0);
            if robust {
                assert_eq!(libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST), 0);
            }
            Self(attributes.assume_init())
        }
    }
}

impl Mutex<'_> {
    /// Initialises the object, before its first use.
    pub(crate) fn init(self, attributes: &Attributes) {
        // SAFETY: the memory is large enough and aligned (`Region::at`), and no thread uses it yet.
        assert_eq!(unsafe { libc::pthread_mutex_init(self.pointer, &raw const attributes.0) }, 0);
    }

    /// Acquires the mutex, and makes it consistent if its owner died.
    #[inline]
    pub(crate) fn lock(self) {
        // SAFETY: the memory is mapped for the lifetime of `self`, and initialised.
        let result = unsafe { libc::pthread_mutex_lock(self.pointer) };
        self.taken(result);
    }

    #[inline]
    fn taken(self, result: libc::c_int) -> bool {
        match result {
            0 => true,
            libc::EOWNERDEAD => {
                // SAFETY: as in `lock`, and this thread holds the mutex.
                assert_eq!(unsafe { libc::pthread_mutex_consistent(self.pointer) }, 0);
                true
            }
            libc::EBUSY | libc::ETIMEDOUT => false,
            other => panic!("cannot acquire a mutex: error {other}"),
        }
    }

    #[inline]
    pub(crate) fn try_lock(self) -> bool {
        // SAFETY: as in `lock`.
        let result = unsafe { libc::pthread_mutex_trylock(self.pointer) };
        self.taken(result)
    }

    /// Acquires the mutex by a deadline on the monotonic clock.
    pub(crate) fn lock_by(self, moment: Duration) -> bool {
        let by = libc::timespec { tv_sec: moment.as_secs() as i64, tv_nsec: i64::from(moment.subsec_nanos()) };
        // SAFETY: as in `lock`.
        let result = unsafe { pthread_mutex_clocklock(self.pointer, libc::CLOCK_MONOTONIC, &raw const by) };
        self.taken(result)
    }

    #[inline]
    pub(crate) fn unlock(self) {
        // SAFETY: as in `lock`. The callers in this benchmark hold the mutex, and a robust mutex also checks that.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.pointer) }, 0);
    }
}

/// A POSIX semaphore in a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Semaphore<'a> {
    pointer: *mut libc::sem_t,
    region: PhantomData<&'a Region>,
}

impl Semaphore<'_> {
    /// Initialises the object, before its first use.
    pub(crate) fn init(self) {
        // SAFETY: the memory is large enough and aligned (`Region::at`), and no thread uses it yet.
        assert_eq!(unsafe { libc::sem_init(self.pointer, 1, 1) }, 0);
    }

    #[inline]
    pub(crate) fn wait(self) {
        // SAFETY: the memory is mapped for the lifetime of `self`, and initialised.
        assert_eq!(unsafe { libc::sem_wait(self.pointer) }, 0);
    }

    #[inline]
    pub(crate) fn post(self) {
        // SAFETY: as in `wait`.
        assert_eq!(unsafe { libc::sem_post(self.pointer) }, 0);
    }
}

/// A System V set of one semaphore, used with `SEM_UNDO`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Set(i32);

impl Set {
    pub(crate) fn new() -> Self {
        // SAFETY: the call takes numbers only.
        let set = Self(unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) });
        assert!(set.0 >= 0, "a set can be made");
        set.change(1, 0);
        set
    }

    pub(crate) fn with_id(id: i32) -> Self {
        Self(id)
    }

    pub(crate) fn id(self) -> i32 {
        self.0
    }

    #[inline]
    pub(crate) fn take(self) {
        self.change(-1, libc::SEM_UNDO);
    }

    #[inline]
    pub(crate) fn give(self) {
        self.change(1, libc::SEM_UNDO);
    }

    #[inline]
    fn change(self, by: i16, flags: i32) {
        let mut step = libc::sembuf { sem_num: 0, sem_op: by, sem_flg: flags as i16 };
        // SAFETY: the pointer is to one valid operation.
        assert_eq!(unsafe { libc::semop(self.0, &raw mut step, 1) }, 0);
    }

    pub(crate) fn remove(self) {
        // SAFETY: the call takes numbers only.
        unsafe { libc::semctl(self.0, 0, libc::IPC_RMID) };
    }
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    /// In glibc since 2.30. The crate `libc` does not declare it.
    fn pthread_mutex_clocklock(
        mutex: *mut libc::pthread_mutex_t,
        clock: libc::clockid_t,
        by: *const libc::timespec,
    ) -> libc::c_int;
}

/// A placeholder for the function of glibc. The comparison does not run without glibc.
///
/// # Safety
/// It is always safe to call.
#[cfg(not(target_env = "gnu"))]
unsafe fn pthread_mutex_clocklock(_: *mut libc::pthread_mutex_t, _: libc::clockid_t, _: *const libc::timespec) -> libc::c_int {
    libc::ENOSYS
}

//! The calling thread: its id, its process, and its robust list.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicIsize, AtomicUsize};

use lock_core::{Error, PerProcess, Result};
use lock_table::{fork, this_process, thread};

use super::list::{Head, OFFSET};

/// The calling thread. Not `Send`.
pub(crate) struct ThisThread {
    /// The thread id, in the PID namespace of its process.
    pub(crate) id: u32,
    /// The process id.
    pub(crate) process: u32,
    /// The inode of the PID namespace, or 0 if it is unknown.
    pub(crate) namespace: u32,
    head: NonNull<Head>,
}

/// Cached facts about a thread.
struct ThreadCache {
    /// The [fork epoch](fork::epoch) in which the other fields were set.
    epoch: Cell<u64>,
    id: Cell<u32>,
    process: Cell<u32>,
    namespace: Cell<u32>,
    head: Cell<Option<NonNull<Head>>>,
}

thread_local! {
    static CACHE: ThreadCache = const {
        ThreadCache {
            epoch: Cell::new(u64::MAX),
            id: Cell::new(0),
            process: Cell::new(0),
            namespace: Cell::new(0),
            head: Cell::new(None),
        }
    };
    /// The list of a thread for which libc has registered none: of a child that the system call `clone` has created.
    static OWN_HEAD: Head =
        const { Head { first: AtomicUsize::new(0), offset: AtomicIsize::new(OFFSET), pending: AtomicUsize::new(0) } };
}

impl ThisThread {
    /// Returns the calling thread.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) when libc has registered a robust list with another layout;
    /// [`ErrorKind::System`](lock_core::ErrorKind::System) when none can be registered.
    #[inline]
    pub(crate) fn get() -> Result<Self> {
        CACHE.with(|cache| {
            if cache.epoch.get() != fork::epoch() || cache.head.get().is_none() {
                Self::fill(cache)?;
            }
            let head = cache.head.get().ok_or_else(other_list)?;
            Ok(Self { id: cache.id.get(), process: cache.process.get(), namespace: cache.namespace.get(), head })
        })
    }

    #[cold]
    fn fill(cache: &ThreadCache) -> Result<()> {
        // musl registers its own list, with another offset, when the thread first locks a robust mutex.
        if cfg!(not(target_env = "gnu")) {
            return Err(other_list());
        }
        /// The process id and the PID namespace.
        static PROCESS: PerProcess<(u32, u32)> = PerProcess::new();
        let read = || {
            let process = this_process();
            // The inodes of namespaces have 32 bits.
            Ok((process.pid, process.pid_namespace.map_or(0, |inode| inode as u32)))
        };
        let (process, namespace) = *PROCESS.get_or_try_init(read)?;
        let head = match registered() {
            Some(head) => head,
            None => register()?,
        };
        // SAFETY: `registered` has checked the size, and libc keeps the head in place until the thread has ended.
        if unsafe { head.as_ref() }.offset.load(Relaxed) != OFFSET {
            return Err(other_list());
        }
        cache.id.set(thread::id());
        cache.process.set(process);
        cache.namespace.set(namespace);
        cache.head.set(Some(head));
        cache.epoch.set(fork::current());
        Ok(())
    }

    /// Returns whether the thread is in the PID namespace that exists from the start of the machine on.
    #[inline]
    pub(crate) fn is_in_first_namespace(&self) -> bool {
        /// The kernel's `PROC_PID_INIT_INO`.
        const FIRST: u32 = 0xEFFF_FFFC;
        self.namespace == FIRST
    }

    /// Returns the thread's robust list.
    #[inline]
    pub(crate) fn list(&self) -> &Head {
        // SAFETY: libc keeps the head in the thread's control block until the thread has ended, and `OWN_HEAD` stays in place as long.
        // `self` is not `Send`, so the reference does not outlive the thread. `Head` has the layout of `struct robust_list_head`: a
        // pointer, a `long` and a pointer, for which every bit pattern is valid. Within this process, only this thread accesses it.
        unsafe { self.head.as_ref() }
    }
}

#[cold]
fn other_list() -> Error {
    Error::unsupported(
        "the C library of this program lays out its mutexes in another way than glibc; build the program with glibc",
    )
}

/// Returns the robust list that is registered with the kernel for the calling thread.
fn registered() -> Option<NonNull<Head>> {
    let mut head: *mut Head = ptr::null_mut();
    let mut len = 0_usize;
    // SAFETY: `head` and `len` are valid for writes of a pointer and a `size_t`.
    let done = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    NonNull::new(head).filter(|_| done == 0 && len == size_of::<Head>())
}

/// Registers an empty list for the calling thread.
fn register() -> Result<NonNull<Head>> {
    let head = OWN_HEAD.with(|head| NonNull::from(head));
    // SAFETY: the thread-local value has no destructor and stays in place until the thread has ended.
    let list = unsafe { head.as_ref() };
    // In a child, the list is a copy of that of its parent.
    list.first.store(head.as_ptr().expose_provenance(), Relaxed);
    list.pending.store(0, Relaxed);
    // SAFETY: the kernel reads the list when the thread exits. It is in place until then.
    let done = unsafe { libc::syscall(libc::SYS_set_robust_list, head.as_ptr(), size_of::<Head>()) };
    if done == 0 { Ok(head) } else { Err(Error::last_os_error("set_robust_list")) }
}

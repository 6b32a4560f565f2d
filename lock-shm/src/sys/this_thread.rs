//! The calling thread: its id, its robust list, and its process's registration for barriers.

#[cfg(target_env = "musl")]
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::Relaxed;

use lock_table::{fork, thread};

use super::barrier::membarrier;
use super::cache::{CACHE, IDENTITIES, IDENTITY_LIST, LINKED_AT_MOST, ThreadCache, can_link};
use super::head::{Head, OFFSET};
use super::thread_end::mark_at_end;
use crate::linked::Linked;

/// The calling thread. Not `Send`.
pub(crate) struct ThisThread {
    /// The thread id, in the PID namespace of its process.
    pub(crate) id: u32,
    /// Whether the process is registered for [barriers](super::barrier()).
    pub(crate) barriers: bool,
    /// `None` if libc has registered no robust list, or one with another offset.
    head: Option<NonNull<Head>>,
}

impl ThisThread {
    /// Returns the cached thread if its robust list has room and its process is registered for barriers.
    #[inline]
    pub(crate) fn try_fast() -> Option<Self> {
        CACHE.with(|cache| {
            let head = cache.fast.get().filter(|_| cache.epoch.get() == fork::epoch());
            head.map(|head| Self { id: cache.id.get(), barriers: true, head: Some(head) })
        })
    }

    /// Does the same for a thread that holds a lock. Its cache was set in this process, so the fork epoch is not checked.
    #[inline]
    pub(crate) fn try_fast_as_owner() -> Option<Self> {
        CACHE.with(|cache| cache.fast.get().map(|head| Self { id: cache.id.get(), barriers: true, head: Some(head) }))
    }

    pub(crate) fn get() -> Self {
        CACHE.with(|cache| {
            if cache.epoch.get() != fork::current() {
                Self::fill(cache);
            }
            Self { id: cache.id.get(), barriers: cache.barriers.get(), head: cache.head.get() }
        })
    }

    #[cold]
    fn fill(cache: &ThreadCache) {
        #[cfg(target_env = "musl")]
        {
            // In a forked child, musl leaves the parent's entries in the list. It would write to them when it adds entries, and corrupt
            // the parent's list. The child holds none of the parent's mutexes, so its list is emptied.
            if let Some(head) = cache.head.get() {
                // SAFETY: the child's thread is a copy of the forking thread, so its control block is at the same address.
                unsafe { head.as_ref() }.first.store(head.addr().get(), Relaxed);
            }
            if registered().is_none() {
                register();
            }
        }
        let head = registered().filter(|head| {
            // SAFETY: `registered` has checked the size, and libc keeps the head in place until the thread has ended.
            unsafe { head.as_ref() }.offset.load(Relaxed) == OFFSET
        });
        let barriers = membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
        cache.id.set(thread::id());
        cache.head.set(head);
        cache.fast.set(head.filter(|_| barriers));
        cache.barriers.set(barriers);
        // In a forked child, these records are copies of the parent's.
        cache.linked.forget();
        IDENTITIES.with(Linked::forget);
        IDENTITY_LIST.with(|list| list.first.store(ptr::from_ref(list).addr(), Relaxed));
        cache.epoch.set(fork::current());
    }

    /// Returns the thread's robust list, if one with the right offset is registered with the kernel.
    #[inline]
    pub(crate) fn list(&self) -> Option<&Head> {
        // SAFETY: libc keeps the head in the thread's control block until the thread has ended. `self` is not `Send`, so the reference
        // does not outlive the thread. A program that registers another head must keep it as long, because the kernel reads it when
        // the thread exits. `Head` has the layout of `struct robust_list_head`: a pointer, a `long` and a pointer, for which every bit
        // pattern is valid. Within this process, only libc accesses it otherwise, in this thread.
        self.head.map(|head| unsafe { head.as_ref() })
    }

    /// Returns whether no further lock can be linked into the robust list: it has too many, or its first entry is a libc mutex.
    pub(crate) fn is_full(&self) -> bool {
        let has_many = CACHE.with(|cache| cache.linked.below() >= LINKED_AT_MOST);
        has_many || self.list().is_some_and(|list| !can_link(list))
    }

    /// Returns the list head for locks with an identity number.
    ///
    /// Locks that the thread still holds when it ends are marked as those of a dead owner.
    pub(crate) fn identity_list(&self) -> &Head {
        mark_at_end();
        // SAFETY: the thread-local value has no destructor and stays in place until the thread has ended. `self` is not `Send`, so the
        // reference does not outlive the thread.
        IDENTITY_LIST.with(|list| unsafe { &*ptr::from_ref(list) })
    }
}

/// Returns the robust list that is registered with the kernel for the calling thread.
fn registered() -> Option<NonNull<Head>> {
    let mut head: *mut Head = ptr::null_mut();
    let mut len = 0_usize;
    // SAFETY: `head` and `len` are valid for writes of a pointer and a `size_t`.
    let done = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    NonNull::new(head).filter(|_| done == 0 && len == size_of::<Head>())
}

/// Makes musl register the calling thread's robust list. It does so when the thread first locks a process-shared robust mutex.
#[cfg(target_env = "musl")]
fn register() {
    let mut attributes = MaybeUninit::uninit();
    let mut mutex = MaybeUninit::uninit();
    let (attributes, mutex) = (attributes.as_mut_ptr(), mutex.as_mut_ptr());
    // SAFETY: the attributes and the mutex are local to this thread, and are initialized before use and destroyed after it. The mutex is
    // unlocked, and so unlinked from the list, before its memory is freed. Each call depends on the success of those before it.
    unsafe {
        if libc::pthread_mutexattr_init(attributes) != 0 {
            return;
        }
        let made = libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) == 0
            && libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) == 0
            && libc::pthread_mutex_init(mutex, attributes) == 0;
        if made {
            if libc::pthread_mutex_lock(mutex) == 0 {
                libc::pthread_mutex_unlock(mutex);
            }
            libc::pthread_mutex_destroy(mutex);
        }
        libc::pthread_mutexattr_destroy(attributes);
    }
}

//! The calling thread.

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

/// The calling thread, as the kernel knows it. Not `Send`.
pub(crate) struct ThisThread {
    /// Its id.
    pub(crate) id: u32,
    /// Whether its process takes part in [`barrier`](super::barrier())s.
    pub(crate) barriers: bool,
    /// `None` where libc has registered no list, or one with another offset.
    head: Option<NonNull<Head>>,
}

impl ThisThread {
    /// What is known already of a thread whose process takes part in barriers, and whose list has room.
    #[inline]
    pub(crate) fn try_fast() -> Option<Self> {
        CACHE.with(|cache| {
            let head = cache.fast.get().filter(|_| cache.epoch.get() == fork::epoch());
            head.map(|head| Self { id: cache.id.get(), barriers: true, head: Some(head) })
        })
    }

    /// The same for a thread that holds a lock, so that what it knows is of this process.
    #[inline]
    pub(crate) fn try_fast_as_owner() -> Option<Self> {
        CACHE.with(|cache| cache.fast.get().map(|head| Self { id: cache.id.get(), barriers: true, head: Some(head) }))
    }

    pub(crate) fn get() -> Self {
        CACHE.with(|cache| {
            if cache.epoch.get() != fork::current() {
                Self::ask(cache);
            }
            Self { id: cache.id.get(), barriers: cache.barriers.get(), head: cache.head.get() }
        })
    }

    #[cold]
    fn ask(cache: &ThreadCache) {
        #[cfg(target_env = "musl")]
        {
            // In a forked child, musl leaves the parent's nodes in the list, and writes to the neighbours of the nodes that it adds:
            // the parent's list would break. None of the parent's mutexes belongs to the child.
            if let Some(head) = cache.head.get() {
                // SAFETY: the thread that forked goes on in the child, with its control block at the same address.
                unsafe { head.as_ref() }.first.store(head.addr().get(), Relaxed);
            }
            if registered().is_none() {
                register();
            }
        }
        let head = registered().filter(|head| {
            // SAFETY: the kernel has the list of this size registered, and libc keeps it where it is until the thread has ended.
            unsafe { head.as_ref() }.offset.load(Relaxed) == OFFSET
        });
        let barriers = membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
        cache.id.set(thread::id());
        cache.head.set(head);
        cache.fast.set(head.filter(|_| barriers));
        cache.barriers.set(barriers);
        // In a forked child, what is in them is the parent's.
        cache.linked.forget();
        IDENTITIES.with(Linked::forget);
        IDENTITY_LIST.with(|list| list.first.store(ptr::from_ref(list).addr(), Relaxed));
        cache.epoch.set(fork::current());
    }

    /// Its list, if the kernel looks after it and there is room for another lock.
    #[inline]
    pub(crate) fn list(&self) -> Option<&Head> {
        // SAFETY: libc keeps the head in the thread's own control block, where it stays until the thread has ended, which `self`, not
        // being `Send`, does not outlive. `Head` has the layout of `struct robust_list_head`: two pointers with a long between them, all
        // of which may have any value. The only other access to it is libc's, in this same thread. A list that the program registered
        // in libc's place is one that it has to keep as long, since the kernel reads it when the thread ends.
        self.head.map(|head| unsafe { head.as_ref() })
    }

    /// Whether no further lock is to be put into its list: it has many, or the first node is a mutex of libc's.
    pub(crate) fn is_full(&self) -> bool {
        let has_many = CACHE.with(|cache| cache.linked.below() >= LINKED_AT_MOST);
        has_many || self.list().is_some_and(|list| !can_link(list))
    }

    /// What stands for the kernel's list with locks that the kernel does not look after. Those that are left when the thread ends are marked
    /// as a dead owner's.
    pub(crate) fn identity_list(&self) -> &Head {
        mark_at_end();
        // SAFETY: the thread-local value stays where it is until the thread has ended, which `self`, not being `Send`, does not outlive.
        // It has no destructor, so that it may be used in those of others.
        IDENTITY_LIST.with(|list| unsafe { &*ptr::from_ref(list) })
    }
}

/// The calling thread's list, if libc has registered one with the kernel.
fn registered() -> Option<NonNull<Head>> {
    let mut head: *mut Head = ptr::null_mut();
    let mut len = 0_usize;
    // SAFETY: the call writes a pointer and a size to the two places, which are valid for that.
    let done = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) };
    NonNull::new(head).filter(|_| done == 0 && len == size_of::<Head>())
}

/// Has musl register the calling thread's list, which it does when the thread first locks a process-shared robust mutex.
#[cfg(target_env = "musl")]
fn register() {
    let mut attributes = MaybeUninit::uninit();
    let mut mutex = MaybeUninit::uninit();
    let (attributes, mutex) = (attributes.as_mut_ptr(), mutex.as_mut_ptr());
    // SAFETY: the attributes and the mutex are local, initialised first and destroyed last, and used by this thread alone. The mutex
    // is unlocked, so that it has left the list, before its memory goes. Each call is skipped when one before it has failed.
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

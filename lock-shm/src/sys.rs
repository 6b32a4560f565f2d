//! The unsafe code of this crate: the futex calls, and the calling thread's robust list.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
#[cfg(target_env = "musl")]
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicIsize, AtomicU32, AtomicU64, AtomicUsize, compiler_fence};
use std::time::Duration;

use lock_core::table::Hot;
use lock_core::{fork, thread};

/// The kernel's `struct robust_list_head`, which libc registered for this thread. Only the thread itself touches it, and the kernel
/// when the thread is dead.
#[repr(C)]
pub(crate) struct Head {
    /// The first node; the head itself where there is none.
    pub(crate) first: AtomicUsize,
    /// From a node to its futex word.
    pub(crate) offset: AtomicIsize,
    /// The node that is being linked or unlinked.
    pub(crate) pending: AtomicUsize,
}

/// What a thread remembers of itself. Cells, because a value of several words that is copied as a whole is slow to read right after it
/// was written.
struct Known {
    /// Its list, where [`barrier`] works and its process takes part in it.
    head: Cell<Option<NonNull<Head>>>,
    /// Its list, where that is not so.
    without: Cell<Option<NonNull<Head>>>,
    id: Cell<u32>,
}

thread_local! {
    static KNOWN: Known = const { Known { head: Cell::new(None), without: Cell::new(None), id: Cell::new(0) } };
}

fn forget() {
    KNOWN.with(|known| {
        let (head, without) = (known.head.take(), known.without.take());
        if cfg!(target_env = "musl")
            && let Some(head) = head.or(without)
        {
            // musl leaves the parent's nodes in the child's list, and writes to the neighbours of the nodes that it adds: the parent's
            // list would break. None of the parent's mutexes belongs to the child.
            // SAFETY: as in `ThisThread::head`; the thread that forked goes on as the only thread of the child, at the same addresses.
            unsafe { head.as_ref() }.first.store(head.addr().get(), Relaxed);
        }
    });
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

/// The calling thread, as the kernel knows it. Not `Send`.
pub(crate) struct ThisThread {
    /// Its id.
    pub(crate) id: u32,
    /// Whether its process takes part in [`barrier`]s.
    pub(crate) barriers: bool,
    head: NonNull<Head>,
}

impl ThisThread {
    /// What is known already of a thread whose process takes part in barriers.
    #[inline]
    pub(crate) fn at_once() -> Option<Self> {
        KNOWN.with(|known| known.head.get().map(|head| Self { id: known.id.get(), barriers: true, head }))
    }

    /// `None` when libc has registered no list for it.
    #[inline]
    pub(crate) fn get() -> Option<Self> {
        let without = |known: &Known| known.without.get().map(|head| Self { id: known.id.get(), barriers: false, head });
        Self::at_once().or_else(|| KNOWN.with(without)).or_else(Self::ask)
    }

    #[cold]
    fn ask() -> Option<Self> {
        fork::call_in_children(forget);
        #[cfg(target_env = "musl")]
        if registered().is_none() {
            register();
        }
        let head = registered()?;
        let (id, barriers) = (thread::id(), membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED));
        KNOWN.with(|known| {
            known.id.set(id);
            if barriers { &known.head } else { &known.without }.set(Some(head));
        });
        Some(Self { id, barriers, head })
    }

    /// Its list.
    #[inline]
    pub(crate) fn head(&self) -> &Head {
        // SAFETY: libc keeps the head in the thread's own control block, where it stays until the thread has ended, which `self`, not
        // being `Send`, does not outlive. `Head` has the layout of `struct robust_list_head`: two pointers with a long between them, all
        // of which may have any value. The only other access to it is libc's, in this same thread.
        unsafe { self.head.as_ref() }
    }
}

/// Every thread of every process that takes part comes to a full memory barrier before this returns. False when the system has no
/// such call, or forbids it.
#[cold]
pub(crate) fn barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

/// See membarrier(2).
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call touches no memory of the program's.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Puts a line's node at the start of the calling thread's list, as libc does with those of its mutexes. The caller owns the lock.
#[inline]
pub(crate) fn link(head: &Head, hot: &Hot) {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let first = head.first.load(Relaxed);
    hot.next.store(first as u64, Relaxed);
    if first != start {
        // SAFETY: the list is not empty, and its first node is another lock that this thread holds.
        unsafe { set_prev(first, node) };
    }
    // The node is whole before the kernel can come to it. Its `prev` is written by whoever is put before it, us or libc.
    compiler_fence(SeqCst);
    head.first.store(node, Relaxed);
}

/// Takes a line's node out of the calling thread's list, if it is the only one there. The caller owns the lock.
#[inline]
pub(crate) fn unlink_only(head: &Head, hot: &Hot) -> bool {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let only = hot.next.load(Relaxed) as usize == start && head.first.load(Relaxed) == node;
    if only {
        head.first.store(start, Relaxed);
    }
    only
}

/// Takes a line's node out of the calling thread's list. The caller owns the lock.
pub(crate) fn unlink(head: &Head, hot: &Hot) {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let next = hot.next.load(Relaxed) as usize;
    let prev = if head.first.load(Relaxed) == node { start } else { hot.prev.load(Relaxed) as usize };
    // SAFETY: since the lock is held, its node is in this thread's list. Its neighbours are other locks that this thread holds, or the
    // head: where it is not the first, another was put before it, and that is what `prev` links to.
    unsafe {
        set_next(prev, next);
        if untagged(next) != start {
            set_prev(next, prev);
        }
    }
}

/// # Safety
/// `node` links to a node of the calling thread's robust list other than its head.
#[inline]
unsafe fn set_prev(node: usize, prev: usize) {
    let place = (untagged(node) - size_of::<usize>()) as *const AtomicUsize;
    // SAFETY: a node is in a mutex of libc's or in a line of ours, which is mapped for as long as it is in the list (a table is not
    // unmapped while this process holds a lock of it); in both, `prev` is the word before `next`, and is touched by this thread alone.
    unsafe { (*place).store(prev, Relaxed) };
}

/// # Safety
/// `node` links to a node of the calling thread's robust list, or to its head.
#[inline]
unsafe fn set_next(node: usize, next: usize) {
    // SAFETY: as in `set_prev`; a link is the address of the node's `next`, and `first` stands for the head's.
    unsafe { (*(untagged(node) as *const AtomicUsize)).store(next, Relaxed) };
}

/// A link without libc's mark, in its lowest bit, of a priority-inheritance mutex.
#[inline]
fn untagged(link: usize) -> usize {
    link & !1
}

/// The address of a word of a line, as a link.
#[inline]
pub(crate) fn address(word: &AtomicU64) -> usize {
    ptr::from_ref(word).addr()
}

/// Sleeps while the word has this value, for no longer than `duration`, measured on the monotonic clock. It may wake for no reason.
pub(crate) fn wait(word: &AtomicU32, value: u32, duration: Duration) {
    let deadline = monotonic().saturating_add(duration);
    let deadline = libc::timespec {
        // The crate `libc` is about to change the type's width on musl, and deprecates its name there.
        tv_sec: deadline.as_secs().try_into().unwrap_or(i32::MAX.into()),
        tv_nsec: deadline.subsec_nanos().into(),
    };
    // SAFETY: the word and the time are valid for the time of the call, which writes to neither.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            value,
            &raw const deadline,
            ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    // Whatever it says (woken, EINTR, EAGAIN, ETIMEDOUT), the caller looks at the word and at the clock again.
}

/// Wakes one sleeper, if there is one.
pub(crate) fn wake_one(word: &AtomicU32) {
    // SAFETY: the call only looks up the address of the word, which is valid.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a time to the place, which is valid for that.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(done, 0, "the monotonic clock is always there: {}", io::Error::last_os_error());
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::robust::tests::{hold, lines};

    #[test]
    fn a_forked_child_begins_with_an_empty_list() {
        let [slot] = lines();
        let held = hold(&slot);
        assert_eq!(held.head().first.load(Relaxed), address(&slot.hot().next));
        // The first node has no use for it; but if the parent links another node meanwhile, it does.
        const MARK: u64 = 0x10ad;
        slot.hot().prev.store(MARK, Relaxed);
        // SAFETY: the child allocates nothing and takes no lock that another thread could have had at the fork.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let is_empty = |head: &Head| head.first.load(Relaxed) == ptr::from_ref(head).addr();
            let fine = ThisThread::get().is_some_and(|thread| is_empty(thread.head()));
            // SAFETY: _exit does not return.
            unsafe { libc::_exit(i32::from(!fine)) };
        }
        let mut status = 0;
        // SAFETY: the call writes a number to the place, which is valid for that.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
        assert_eq!(held.head().first.load(Relaxed), address(&slot.hot().next), "the list of the parent has changed");
        assert_eq!(slot.hot().prev.load(Relaxed), MARK, "the child has changed a node of the parent");
    }
}

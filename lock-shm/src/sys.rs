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

use lock_table::{Hot, Owner};
use lock_table::{fork, thread};

use crate::linked::Linked;

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

/// From a node to its word, as this C library registers it with the kernel.
const OFFSET: isize = std::mem::offset_of!(Hot, word) as isize - std::mem::offset_of!(Hot, next) as isize;

/// Locks of a thread that are put into libc's list. The kernel walks 2,048 nodes, which are libc's and these together: the
/// thread's other robust mutexes need some.
const LINKED_AT_MOST: u32 = 1000;

/// What a thread remembers of itself. Cells, because a value of several words that is copied as a whole is slow to read right after it
/// was written.
struct ThreadCache {
    /// The process that the other cells were set in, see [`fork::epoch`].
    epoch: Cell<u64>,
    id: Cell<u32>,
    /// Its list, where [`barrier`] works, its process takes part in it, and there is room in the list.
    fast: Cell<Option<NonNull<Head>>>,
    /// Its list.
    head: Cell<Option<NonNull<Head>>>,
    /// Whether its process takes part in barriers.
    barriers: Cell<bool>,
    /// The locks in the list.
    linked: Linked,
}

impl ThreadCache {
    /// Takes the fast path away from a thread whose list is full, and gives it back.
    fn update_fast(&self) {
        let has_room = self.linked.below() < LINKED_AT_MOST;
        self.fast.set(self.head.get().filter(|_| self.barriers.get() && has_room));
    }
}

thread_local! {
    static CACHE: ThreadCache = const {
        ThreadCache {
            epoch: Cell::new(0),
            id: Cell::new(0),
            fast: Cell::new(None),
            head: Cell::new(None),
            barriers: Cell::new(false),
            linked: Linked::new(),
        }
    };
    /// Locks that the kernel must not look after, because the words have no thread id.
    static IDENTITIES: Linked = const { Linked::new() };
    /// What such a lock has in the place of the kernel's list. No node is linked into it.
    static IDENTITY_LIST: Head =
        const { Head { first: AtomicUsize::new(0), offset: AtomicIsize::new(OFFSET), pending: AtomicUsize::new(0) } };
    static AT_END: AtEnd = const { AtEnd };
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
        free_at_end();
        // SAFETY: the thread-local value stays where it is until the thread has ended, which `self`, not being `Send`, does not outlive.
        // It has no destructor, so that it may be used in those of others.
        IDENTITY_LIST.with(|list| unsafe { &*ptr::from_ref(list) })
    }
}

/// Has the thread's own list marked at the end of the thread, as the kernel does with libc's list.
///
/// Other thread-local values may have guards and may be destroyed later. So this destructor only sets a value of a pthread key, whose
/// destructor is called after those of all thread-local values. The key alone would not do: a thread that has a thread-local value with
/// a destructor keeps the library loaded.
struct AtEnd;

impl Drop for AtEnd {
    fn drop(&mut self) {
        let value: *const Self = self;
        // SAFETY: the key was created and is never deleted. The value is not null, and nothing is read from it.
        if key().is_none_or(|key| unsafe { libc::pthread_setspecific(key, value.cast()) } != 0) {
            mark_list(ptr::null_mut());
        }
    }
}

/// Has [`mark_list`] called at the end of the thread.
fn free_at_end() {
    // In the destructors of a thread that are called later, what the end needs is there.
    let _ = AT_END.try_with(|_| ());
}

/// The key whose destructor is [`mark_list`]; `None` when the process has too many keys.
fn key() -> Option<libc::pthread_key_t> {
    /// The key plus one. No thread waits for another in it, which a fork could leave waiting.
    static KEY: AtomicU64 = AtomicU64::new(0);
    let known = |key: u64| (key != 0).then(|| (key - 1) as libc::pthread_key_t);
    if let Some(key) = known(KEY.load(Relaxed)) {
        return Some(key);
    }
    let mut key = 0;
    // SAFETY: the call writes a key to the place, which is valid for that. The destructor is a function of this library, and has the
    // type that is asked for.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(mark_list)) } != 0 {
        return known(KEY.load(Relaxed));
    }
    match KEY.compare_exchange(0, u64::from(key) + 1, Relaxed, Relaxed) {
        Ok(_) => Some(key),
        Err(other) => {
            // SAFETY: no thread has set a value of this key, which is known here only.
            unsafe { libc::pthread_key_delete(key) };
            known(other)
        }
    }
}

/// Marks the locks that the thread holds and that the kernel does not look after.
extern "C" fn mark_list(_: *mut libc::c_void) {
    // In a forked child that has not used the list since, what is in it is the parent's.
    if CACHE.with(|cache| cache.epoch.get()) != fork::epoch() {
        return;
    }
    while let Some(node) = pop_identity() {
        // SAFETY: the thread recorded the node when it acquired the lock, and holds the lock: its line stays mapped (a table is not
        // unmapped while its process holds a lock of it). The lock's word is `OFFSET` from the node.
        mark_as_dead(unsafe { &*(node.wrapping_add_signed(OFFSET) as *const AtomicU32) });
    }
    free_record();
}

/// Frees the record's memory, if the thread holds no lock any more.
fn free_record() {
    CACHE.with(|cache| cache.linked.free());
    IDENTITIES.with(Linked::free);
}

/// Removes a lock from those that the kernel does not look after.
fn pop_identity() -> Option<usize> {
    IDENTITIES.with(Linked::pop)
}

/// What the kernel does with the word of a dead thread.
fn mark_as_dead(word: &AtomicU32) {
    let died = |present: u32| (present & libc::FUTEX_WAITERS) | libc::FUTEX_OWNER_DIED;
    let marked = word
        .fetch_update(SeqCst, SeqCst, |present| (present & libc::FUTEX_TID_MASK >= Owner::FIRST_IDENTITY).then(|| died(present)));
    if marked.is_ok_and(|present| present & libc::FUTEX_WAITERS != 0) {
        wake_one(word);
    }
}

/// Remembers when something that takes time was last done.
#[derive(Debug, Default)]
pub(crate) struct Occasion(AtomicU64);

impl Occasion {
    /// Whether it was last done so many milliseconds ago; then it counts as done now.
    pub(crate) fn is_due(&self, after: u64) -> bool {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes a time to the place, which is valid for that.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
        let now = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
        let due = now.saturating_sub(self.0.load(Relaxed)) >= after;
        if due {
            self.0.store(now, Relaxed);
        }
        due
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

/// Whether a node can be put at the start of the calling thread's list: there is none, or the first is a lock that this thread has linked.
///
/// A node of libc's is written to by libc alone, except that the lock before it would have to write to it when it leaves. Where that node
/// is, only the lock's own links would tell, which are in shared memory. So no lock is put before a mutex of libc's.
pub(crate) fn can_link(head: &Head) -> bool {
    is_empty(head) || CACHE.with(|cache| cache.linked.top() == head.first.load(Relaxed))
}

/// Whether the calling thread's list has no node.
#[inline]
pub(crate) fn is_empty(head: &Head) -> bool {
    head.first.load(Relaxed) == ptr::from_ref(head).addr()
}

/// Puts a line's node into the calling thread's list, which is empty, as libc does with those of its mutexes. The caller owns the lock.
#[inline]
pub(crate) fn link_only(head: &Head, hot: &Hot) {
    // Links are followed by their addresses: from a line to its neighbours, and to the head.
    let (start, _) = (ptr::from_ref(head).expose_provenance(), ptr::from_ref(hot).expose_provenance());
    let node = address(&hot.next);
    hot.next.store(start as u64, Relaxed);
    note_only(node);
    // The node is whole before the kernel can come to it. Its `prev` is written by whoever is put before it, us or libc.
    compiler_fence(SeqCst);
    head.first.store(node, Relaxed);
}

/// The same at the start of a list that may have others. The caller has found that it [can](can_link).
pub(crate) fn link(head: &Head, hot: &Hot) {
    if is_empty(head) {
        return link_only(head, hot);
    }
    let (node, first) = (address(&hot.next), head.first.load(Relaxed));
    ptr::from_ref(hot).expose_provenance();
    hot.next.store(first as u64, Relaxed);
    note_another(node);
    // SAFETY: the list is not empty, and its first node is another lock that this thread holds, ours. The head, which is this process's
    // alone, has its address, so that no other process can have changed it.
    unsafe { set_prev(first, node) };
    compiler_fence(SeqCst);
    head.first.store(node, Relaxed);
}

/// Notes that a node was put into the list, which was empty.
#[inline]
fn note_only(node: usize) {
    CACHE.with(|cache| cache.linked.set_only(node));
}

/// Notes that a node was put into the list, which has others.
#[cold]
fn note_another(node: usize) {
    free_at_end();
    CACHE.with(|cache| {
        cache.linked.push(node);
        cache.update_fast();
    });
}

/// Takes a line's node out of the calling thread's list, if it is the only one there. The caller owns the lock.
#[inline]
pub(crate) fn unlink_only(head: &Head, hot: &Hot) -> bool {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let only = head.first.load(Relaxed) == node && is_last(head, hot);
    if only {
        head.first.store(start, Relaxed);
        note_none();
    }
    only
}

/// Whether nothing comes after this node, which is the first one.
#[inline]
fn is_last(_: &Head, _: &Hot) -> bool {
    CACHE.with(|cache| cache.linked.below() == 0)
}

/// Notes that the only node was taken out of the list.
#[inline]
fn note_none() {
    CACHE.with(|cache| cache.linked.remove_only());
}

/// Takes a line's node out of the calling thread's list, if it is there.
pub(crate) fn unlink(head: &Head, hot: &Hot) {
    let start = ptr::from_ref(head).addr();
    let Some((prev, next)) = take_neighbours(head, hot) else { return };
    // SAFETY: the neighbours are other locks that this thread has linked, a mutex of libc's that the thread holds, or the head, as
    // private memory tells. What the line's own links say, which are in shared memory, is not used.
    unsafe {
        set_next(prev, next);
        if next != start {
            set_prev(next, prev);
        }
    }
}

/// Takes a line's node out of whatever the calling thread has linked it into. The thread has lost the lock, which may be another's.
pub(crate) fn forget(hot: &Hot) {
    let thread = ThisThread::get();
    match thread.list() {
        Some(list) => unlink(list, hot),
        None => _ = IDENTITIES.with(|linked| linked.remove(address(&hot.next))),
    }
}

/// Removes a node from the thread's record. Returns what the list has before and after it.
fn take_neighbours(head: &Head, hot: &Hot) -> Option<(usize, usize)> {
    let (start, node) = (ptr::from_ref(head).addr(), address(&hot.next));
    let beside = CACHE.with(|cache| {
        let beside = cache.linked.remove(node);
        cache.update_fast();
        beside
    });
    let Some(beside) = beside else {
        // The lock's word, which is in shared memory, misled the caller.
        IDENTITIES.with(|linked| linked.remove(node));
        return None;
    };
    let prev = beside.above.or_else(|| before(head, node))?;
    Some((prev, beside.below.unwrap_or(start)))
}

/// What the list has before the latest lock of this thread: the head, or the last of the mutexes that libc has put before it.
fn before(head: &Head, node: usize) -> Option<usize> {
    /// More than a thread can have.
    const MUTEXES: u32 = 1 << 20;
    let (mut prev, mut next) = (ptr::from_ref(head).addr(), untagged(head.first.load(Relaxed)));
    for _ in 0..MUTEXES {
        if next == node {
            return Some(prev);
        }
        // SAFETY: the nodes before the latest lock are mutexes of libc's that the thread holds, and so mapped. The link to the
        // first is in private memory, and that to each further one in such a mutex.
        (prev, next) = (next, untagged(unsafe { (*(next as *const AtomicUsize)).load(Relaxed) }));
    }
    None
}

/// Notes that the calling thread holds a lock that the kernel does not look after. The second argument is the list of [`take`](link).
pub(crate) fn link_identity(_: &Head, hot: &Hot) {
    ptr::from_ref(hot).expose_provenance();
    IDENTITIES.with(|linked| linked.push(address(&hot.next)));
}

/// Notes that the calling thread gives such a lock back.
pub(crate) fn unlink_identity(_: &Head, hot: &Hot) {
    let node = address(&hot.next);
    let known = IDENTITIES.with(|linked| linked.remove(node)).is_some();
    // The lock's word, which is in shared memory, may have misled the caller.
    if !known && let Some(list) = ThisThread::get().list() {
        unlink(list, hot);
    }
}

/// # Safety
/// `node` links to a node of the calling thread's robust list other than its head.
#[inline]
unsafe fn set_prev(node: usize, prev: usize) {
    let place = (untagged(node) - size_of::<usize>()) as *const AtomicUsize;
    // SAFETY: a node is in a mutex of libc's, which POSIX wants destroyed or unmapped only when it is unlocked, or in a line of ours,
    // which is mapped for as long as it is in the list (a table is not unmapped while this process holds a lock of it, and a library
    // that is unloaded leaves it mapped). In both, `prev` is the word before `next`, and is accessed by this thread alone.
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
    use rstest::rstest;

    #[test]
    fn a_forked_child_begins_with_an_empty_list() {
        let [slot] = lines();
        let held = hold(&slot);
        assert_eq!(held.list().unwrap().first.load(Relaxed), address(&slot.hot().next));
        // The first node has no use for it; but if the parent links another node meanwhile, it does.
        const MARK: u64 = 0x10ad;
        slot.hot().prev.store(MARK, Relaxed);
        // SAFETY: the child allocates nothing and takes no lock that another thread could have had at the fork.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let is_empty = |head: &Head| head.first.load(Relaxed) == ptr::from_ref(head).addr();
            let fine = ThisThread::get().list().is_some_and(is_empty);
            // SAFETY: _exit does not return.
            unsafe { libc::_exit(i32::from(!fine)) };
        }
        let mut status = 0;
        // SAFETY: the call writes a number to the place, which is valid for that.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
        assert_eq!(held.list().unwrap().first.load(Relaxed), address(&slot.hot().next), "the list of the parent has changed");
        assert_eq!(slot.hot().prev.load(Relaxed), MARK, "the child has changed a node of the parent");
    }

    /// Memory of the program's own, which a link of another user's could lead to.
    struct Private(Box<[AtomicU64; 8]>);

    impl Private {
        const VALUE: u64 = 0x5ec2_e700_0000_0001;

        fn new() -> Self {
            Self(Box::new([const { AtomicU64::new(Self::VALUE) }; 8]))
        }

        fn address(&self) -> u64 {
            ptr::from_ref(&self.0[4]).addr() as u64
        }

        fn is_unchanged(&self) -> bool {
            self.0.iter().all(|word| word.load(Relaxed) == Self::VALUE)
        }
    }

    /// Another user writes anything to the links of locks that are held.
    #[rstest]
    #[case([0, 1, 2])]
    #[case([1, 0, 2])]
    #[case([2, 1, 0])]
    fn links_in_shared_memory_are_neither_followed_nor_written_through(#[case] order: [usize; 3]) {
        let private = Private::new();
        let slots: [_; 3] = lines();
        slots.iter().for_each(|slot| _ = hold(slot));
        let thread = ThisThread::get();
        let head = thread.list().unwrap();
        for at in order {
            for slot in &slots {
                slot.hot().next.store(private.address(), Relaxed);
                slot.hot().prev.store(private.address(), Relaxed);
            }
            crate::robust::give(head, slots[at].hot(), thread.barriers);
            assert!(private.is_unchanged(), "a release wrote where a link in shared memory led to");
        }
        assert!(is_empty(head), "the list is not what the thread has linked");
        assert!(thread.list().is_some_and(can_link));
    }

    #[test]
    fn a_link_that_leaves_out_other_locks_does_not_take_them_out_of_the_list() {
        let slots: [_; 2] = lines();
        slots.iter().for_each(|slot| _ = hold(slot));
        let thread = ThisThread::get();
        let head = thread.list().unwrap();
        slots[1].hot().next.store(ptr::from_ref(head).addr() as u64, Relaxed);
        crate::robust::give(head, slots[1].hot(), thread.barriers);
        assert_eq!(head.first.load(Relaxed), address(&slots[0].hot().next));
        crate::robust::give(head, slots[0].hot(), thread.barriers);
        assert!(is_empty(head));
    }

    #[test]
    fn a_word_that_was_changed_does_not_leave_a_lock_in_the_list() {
        let slots: [_; 2] = lines();
        slots.iter().for_each(|slot| _ = hold(slot));
        let thread = ThisThread::get();
        let head = thread.list().unwrap();
        for slot in &slots {
            slot.hot().word.store(Owner::FIRST_IDENTITY, Relaxed);
            crate::robust::give(head, slot.hot(), thread.barriers);
        }
        assert!(is_empty(head));
        let held = hold(&slots[0]);
        slots[0].hot().word.store(0, Relaxed);
        forget(slots[0].hot());
        assert!(is_empty(held.list().unwrap()));
    }

    #[test]
    fn the_end_of_a_thread_follows_no_link_in_shared_memory() {
        let private = Private::new();
        let [slot] = lines();
        let hot = slot.hot();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                link_identity(ThisThread::get().identity_list(), hot);
                hot.word.store(Owner::FIRST_IDENTITY, Relaxed);
                hot.next.store(private.address(), Relaxed);
            });
        });
        // The scope may end before the thread's last destructors.
        let is_marked = || hot.word.load(Relaxed) & libc::FUTEX_OWNER_DIED != 0;
        while !is_marked() {
            std::thread::yield_now();
        }
        assert!(private.is_unchanged());
    }

    /// A mutex of libc's stays where it is in the list, and no lock is put before it.
    #[test]
    fn no_lock_is_put_before_a_node_that_this_thread_has_not_linked() {
        let slots: [_; 2] = lines();
        let thread = hold(&slots[0]);
        let head = thread.list().unwrap();
        // What libc does when the thread locks a robust mutex.
        let mutex = [const { AtomicUsize::new(0) }; 2];
        let (node, own) = (ptr::from_ref(&mutex[1]).expose_provenance(), address(&slots[0].hot().next));
        mutex[0].store(ptr::from_ref(head).addr(), Relaxed);
        mutex[1].store(own, Relaxed);
        slots[0].hot().prev.store(node as u64, Relaxed);
        head.first.store(node, Relaxed);
        assert!(!can_link(head) && thread.is_full());
        // Another user's link does not matter for the neighbour either.
        slots[0].hot().prev.store(0xdead_0000, Relaxed);
        crate::robust::give(head, slots[0].hot(), thread.barriers);
        assert_eq!((head.first.load(Relaxed), mutex[1].load(Relaxed)), (node, ptr::from_ref(head).addr()));
        head.first.store(ptr::from_ref(head).addr(), Relaxed);
        assert!(can_link(head));
    }
}

//! The lock word, and its place in the kernel's robust list.
//!
//! The word has the kernel's format: the owner's thread id and `WAITERS`. In the word of a dead thread that it finds in that thread's
//! list, the kernel puts [`DIED`] in the place of the thread id, which leaves the lock free. A lock's node in the list is built as libc builds those of its mutexes, whose neighbour it is.
//!
//! Around each step that changes both the word and the list, `pending` names the node: whichever instruction the thread is killed
//! at, the kernel finds the word either in the list or there. (Documentation/locking/robust-futex-ABI.rst.)

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::compiler_fence;

use lock_table::{Hot, Owner};

use crate::sys::{self, Head, ThisThread};
use crate::waiters::{self, Release};

/// The kernel found the word of a dead thread.
pub(crate) const DIED: u32 = libc::FUTEX_OWNER_DIED;
const TID: u32 = libc::FUTEX_TID_MASK;

/// What two programs must have in common to share a store.
pub(crate) const ABI: u64 = ((usize::BITS as u64) << 32) | sys::OFFSET.unsigned_abs() as u64;

/// The C library whose robust list has this offset.
const fn library(offset: u32) -> &'static str {
    match offset {
        32 => "glibc",
        28 => "musl",
        _ => "another C library",
    }
}

/// Names the C library of the programs that [`ABI`] stands for.
pub(crate) fn describe(abi: u64) -> String {
    let (bits, offset) = (abi >> 32, abi as u32);
    format!("{}, {bits} bits, robust-list offset {offset}", library(offset))
}

/// The number of the owner in a word: its thread id, or an [identity number](Owner::identity_number). 0 in the word of a lock
/// that is free, or whose owner died.
pub(crate) fn owner(word: u32) -> u32 {
    word & TID
}

pub(crate) fn is_held(hot: &Hot) -> bool {
    owner(hot.word.load(Relaxed)) != 0
}

/// The calling thread as the owner of a lock.
#[derive(Clone, Copy)]
pub(crate) struct Me<'a> {
    pub(crate) owner: Owner,
    /// For the lock word.
    pub(crate) number: u32,
    /// The list for the lock.
    pub(crate) list: &'a Head,
}

/// Acquires a lock whose word is 0, for a thread whose list is empty: puts the thread's id into the word and the lock into the list, and
/// writes the owner down. No owner was written down before: a lock becomes free when its owner is removed, and free but for [`DIED`] when
/// the owner died. Returns the token; `None` when the word was not 0.
#[inline]
pub(crate) fn take_free(head: &Head, hot: &Hot, me: Owner, tid: u32) -> Option<u64> {
    begin(head, sys::address(&hot.next));
    let taken = hot.word.compare_exchange(0, tid, Acquire, Relaxed).is_ok().then(|| {
        sys::link_only(head, hot);
        hot.begin(me)
    });
    end(head);
    taken
}

/// The same for a thread whose list may have others; `None` also when the lock [cannot](sys::can_link) be put before them.
#[inline(never)]
pub(crate) fn take_another(head: &Head, hot: &Hot, me: Owner, tid: u32) -> Option<u64> {
    let can_link = sys::can_link(head);
    can_link.then(|| take(&Me { owner: me, number: tid, list: head }, hot, 0, 0)).flatten()
}

/// Acquires a lock whose word is `old`: puts the thread's number and `waiting` into the word and the lock into the list, and writes
/// the owner down. Returns the token; `None` when the word was not `old`.
pub(crate) fn take(me: &Me<'_>, hot: &Hot, old: u32, waiting: u32) -> Option<u64> {
    begin(me.list, sys::address(&hot.next));
    let taken = hot.word.compare_exchange(old, me.number | waiting, Acquire, Relaxed).is_ok().then(|| {
        if me.number < Owner::FIRST_IDENTITY {
            sys::link(me.list, hot);
        } else {
            sys::link_identity(me.list, hot);
        }
        if waiting != 0 {
            waiters::keep(hot);
        }
        hot.begin(me.owner)
    });
    end(me.list);
    taken
}

/// Takes the lock out of the list, removes its owner, makes it free, and wakes a waiter if there is one. `plain` says that this
/// process takes part in barriers.
///
/// If it is killed after the lock is free and before it has woken a waiter, the kernel wakes one for it: `pending` is set and the word
/// has no owner.
#[inline]
pub(crate) fn give(head: &Head, hot: &Hot, plain: bool) {
    begin(head, sys::address(&hot.next));
    if !sys::unlink_only(head, hot) {
        return give_one_of_several(head, hot, plain);
    }
    hot.end();
    match waiters::release(hot, plain) {
        Release::Done => end(head),
        left => finish(head, hot, left),
    }
}

/// The same for a lock in either list, which the next owner is told something of: `record` writes that down and removes the owner. The
/// word says so, too, so that acquiring a lock that nobody died in costs nothing.
#[cold]
pub(crate) fn give_inconsistent(list: &Head, hot: &Hot, record: impl FnOnce()) {
    begin(list, sys::address(&hot.next));
    if !sys::unlink_only(list, hot) {
        unlink(list, hot);
    }
    record();
    if waiters::exchange(hot, DIED) {
        sys::wake_one(&hot.word);
    }
    end(list);
}

#[cold]
#[inline(never)]
fn give_one_of_several(head: &Head, hot: &Hot, plain: bool) {
    unlink(head, hot);
    hot.end();
    finish(head, hot, waiters::release(hot, plain));
}

/// Takes a lock out of what it is in: libc's list, or the locks with an identity number.
fn unlink(head: &Head, hot: &Hot) {
    if owner(hot.word.load(Relaxed)) < Owner::FIRST_IDENTITY {
        sys::unlink(head, hot);
    } else {
        sys::unlink_identity(ThisThread::get().identity_list(), hot);
    }
}

#[cold]
#[inline(never)]
fn finish(head: &Head, hot: &Hot, left: Release) {
    let wake = match left {
        Release::Done => false,
        Release::Wake => true,
        Release::Exchange => waiters::exchange(hot, 0),
    };
    if wake {
        sys::wake_one(&hot.word);
    }
    end(head);
}

#[inline]
fn begin(head: &Head, node: usize) {
    head.pending.store(node, Relaxed);
    compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

#[inline]
fn end(head: &Head) {
    compiler_fence(std::sync::atomic::Ordering::SeqCst);
    head.pending.store(0, Relaxed);
}

#[cfg(test)]
pub(crate) mod tests {
    use lock_core::OpenMode;
    use lock_table::{Kind, Slot, Table, TableOptions};
    use rstest::rstest;

    use super::*;

    /// So many lines of a table that nobody else has.
    pub(crate) fn lines<const N: usize>() -> [Slot; N] {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (path, kind) = (directory.path().join("table"), Kind::new("shm", 0));
        let table = Table::open(&path, kind, OpenMode::Create, &TableOptions::default()).unwrap();
        std::array::from_fn(|id| table.slot((id as u32).into()).unwrap())
    }

    pub(crate) fn hold(slot: &Slot) -> ThisThread {
        let (thread, me) = (ThisThread::get(), slot.table().me().unwrap());
        take_another(thread.list().unwrap(), slot.hot(), me, thread.id).unwrap();
        thread
    }

    pub(crate) fn take_and_give(slot: &Slot) {
        let thread = hold(slot);
        give(thread.list().unwrap(), slot.hot(), thread.barriers);
    }

    /// The lines whose nodes the kernel would come by, in its order.
    fn listed(head: &Head, slots: &[Slot]) -> Vec<usize> {
        let mut found = vec![];
        let mut link = head.first.load(Relaxed);
        while link != std::ptr::from_ref(head).addr() {
            let at = slots.iter().position(|slot| sys::address(&slot.hot().next) == link).expect("it is none of ours");
            assert!(!found.contains(&at), "it goes round");
            found.push(at);
            link = slots[at].hot().next.load(Relaxed) as usize;
        }
        found
    }

    #[rstest]
    #[case([0, 1, 2])]
    #[case([0, 2, 1])]
    #[case([1, 0, 2])]
    #[case([1, 2, 0])]
    #[case([2, 0, 1])]
    #[case([2, 1, 0])]
    fn what_is_held_is_in_the_list_and_nothing_else_in_whatever_order_it_is_released(#[case] order: [usize; 3]) {
        let slots: [_; 3] = lines();
        let (thread, me) = (ThisThread::get(), slots[0].table().me().unwrap());
        let head = thread.list().unwrap();
        for slot in &slots {
            take_another(head, slot.hot(), me, thread.id).unwrap();
        }
        let mut held = vec![2, 1, 0];
        assert_eq!(listed(head, &slots), held);
        for released in order {
            give(head, slots[released].hot(), thread.barriers);
            held.retain(|at| *at != released);
            assert_eq!(listed(head, &slots), held);
        }
    }

    #[test]
    fn a_refusal_says_by_which_library_the_store_was_made() {
        let ours = describe(ABI);
        assert!(!ours.contains(library(0)), "{ours}");
        assert_eq!(describe(64 << 32 | 28), "musl, 64 bits, robust-list offset 28");
    }
}

//! The lock word and its entry in the kernel's robust list.
//!
//! The lock word has the kernel's format: the owner's thread id and `FUTEX_WAITERS`. When a thread exits, the kernel walks its robust
//! list. In each word that holds the thread's id, it replaces the id with [`DIED`], which frees the lock. If `FUTEX_WAITERS` is set,
//! it wakes one waiter. The entry of a lock has the same layout as that of a libc mutex, because both are in the same list.
//!
//! `list_op_pending` points to the entry during each operation that changes both the word and the list. So the kernel finds the word
//! whichever instruction the thread is killed at. See Documentation/locking/robust-futex-ABI.rst in the kernel's source.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::compiler_fence;

use lock_table::{LockLine, Owner};

use crate::sys::{self, Head, ThisThread};
use crate::wait::{self, Release, Wake};

/// The bit that the kernel sets in the lock word of a dead owner. An inconsistent release sets it too.
pub(crate) const DIED: u32 = libc::FUTEX_OWNER_DIED;
const TID: u32 = libc::FUTEX_TID_MASK;

/// The word size and the robust-list offset. Programs can share a store only if they agree on both.
pub(crate) const ABI: u64 = ((usize::BITS as u64) << 32) | sys::OFFSET.unsigned_abs() as u64;

/// The C library whose robust list has this offset.
const fn library(offset: u32) -> &'static str {
    match offset {
        32 => "glibc",
        28 => "musl",
        _ => "another C library",
    }
}

/// Describes an [`ABI`] value for error messages.
pub(crate) fn describe(abi: u64) -> String {
    let (bits, offset) = (abi >> 32, abi as u32);
    format!("{}, {bits} bits, robust-list offset {offset}", library(offset))
}

/// Returns the owner's number in a lock word: a thread id or an [identity number](Owner::identity_number).
///
/// The number is 0 if the lock is free or if its owner died.
pub(crate) fn owner(word: u32) -> u32 {
    word & TID
}

pub(crate) fn is_held(line: &LockLine) -> bool {
    owner(line.word.load(Relaxed)) != 0
}

/// The calling thread or its process as the owner of a lock.
#[derive(Clone, Copy)]
pub(crate) struct CurrentOwner<'a> {
    pub(crate) owner: Owner,
    /// The calling thread. It is `owner`, unless the process is to own the lock.
    pub(crate) caller: Owner,
    /// The owner's number in the lock word.
    pub(crate) number: u32,
    /// The list that the lock is linked into, or `None` if the process is to own the lock.
    pub(crate) list: Option<&'a Head>,
}

/// Acquires a lock whose word is 0, for a thread whose robust list is empty.
///
/// Stores the thread's id in the word, links the lock, and records the owner. No owner is recorded before: a release clears the owner
/// before it stores 0, and a death leaves [`DIED`] in the word. Returns the token, or `None` if the word was not 0.
#[inline]
pub(crate) fn acquire_free(head: &Head, line: &LockLine, me: Owner, tid: u32) -> Option<u64> {
    set_pending(head, sys::address(&line.next));
    let taken = line.word.compare_exchange(0, tid, Acquire, Relaxed).is_ok().then(|| {
        sys::link_only(head, line);
        line.record_owner(me)
    });
    clear_pending(head);
    taken
}

/// Acquires a lock whose word is 0, for a thread whose robust list may have entries.
///
/// Also returns `None` if the lock [cannot be linked](sys::can_link) before them.
#[inline(never)]
pub(crate) fn acquire_another(head: &Head, line: &LockLine, me: Owner, tid: u32) -> Option<u64> {
    let can_link = sys::can_link(head);
    can_link.then(|| acquire(&CurrentOwner { owner: me, caller: me, number: tid, list: Some(head) }, line, 0, 0)).flatten()
}

/// Acquires a lock whose word is `old`.
///
/// Stores the owner's number and the bits `waiting` in the word, links the lock, and records the owner. Returns the token, or `None` if
/// the word was not `old`. A lock of the process is in no list of a thread, so that the end of the thread does not free it.
pub(crate) fn acquire(me: &CurrentOwner<'_>, line: &LockLine, old: u32, waiting: u32) -> Option<u64> {
    if let Some(list) = me.list {
        set_pending(list, sys::address(&line.next));
    }
    let taken = line.word.compare_exchange(old, me.number | waiting, Acquire, Relaxed).is_ok().then(|| {
        match me.list {
            Some(list) if me.number < Owner::FIRST_IDENTITY => sys::link(list, line),
            Some(list) => sys::link_identity(list, line),
            None => {}
        }
        if waiting != 0 {
            wait::keep_mark(line);
        }
        line.record_owner(me.owner)
    });
    if let Some(list) = me.list {
        clear_pending(list);
    }
    taken
}

/// Releases a lock: unlinks it, clears the owner, stores 0 in the word, and wakes one waiter if there are any.
///
/// `plain` is true if this process is registered for [barriers](sys::barrier()).
///
/// If the thread is killed after the store and before the wake-up, the kernel wakes a waiter instead: it does so if
/// `list_op_pending` is set and the word is 0.
#[inline]
pub(crate) fn release(head: &Head, line: &LockLine, plain: bool) {
    set_pending(head, sys::address(&line.next));
    if !sys::unlink_only(head, line) {
        return release_one_of_several(head, line, plain);
    }
    line.clear_owner();
    match wait::release(line, plain) {
        Release::Done => clear_pending(head),
        left => finish_release(head, line, left),
    }
}

/// Releases a lock of the process as [`release`] does, without a list.
///
/// If the thread is killed after the store and before the wake-up, a waiter finds the lock free when its sleep ends.
pub(crate) fn release_of_process(line: &LockLine, plain: bool) {
    line.clear_owner();
    wake_after(line, wait::release(line, plain));
}

/// Releases a lock of either list, or of none, whose next owner gets a report.
///
/// `record` stores the report and clears the owner. The word is left as [`DIED`], so that an acquisition reads the
/// report only if there is one.
#[cold]
pub(crate) fn release_inconsistent(list: Option<&Head>, line: &LockLine, record: impl FnOnce()) {
    if let Some(list) = list {
        set_pending(list, sys::address(&line.next));
        if !sys::unlink_only(list, line) {
            unlink(list, line);
        }
    }
    record();
    wait::exchange(line, DIED).perform(line);
    if let Some(list) = list {
        clear_pending(list);
    }
}

#[cold]
#[inline(never)]
fn release_one_of_several(head: &Head, line: &LockLine, plain: bool) {
    unlink(head, line);
    line.clear_owner();
    finish_release(head, line, wait::release(line, plain));
}

/// Unlinks a lock from libc's list, or from the thread's list of locks with an identity number.
fn unlink(head: &Head, line: &LockLine) {
    if owner(line.word.load(Relaxed)) < Owner::FIRST_IDENTITY {
        sys::unlink(head, line);
    } else {
        sys::unlink_identity(ThisThread::get().identity_list(), line);
    }
}

#[cold]
#[inline(never)]
fn finish_release(head: &Head, line: &LockLine, left: Release) {
    wake_after(line, left);
    clear_pending(head);
}

/// Performs the remaining step of a release.
fn wake_after(line: &LockLine, left: Release) {
    let wake = match left {
        Release::Done => Wake::Nobody,
        Release::Wake => Wake::OneWaiter,
        Release::Exchange => wait::exchange(line, 0),
    };
    wake.perform(line);
}

#[inline]
fn set_pending(head: &Head, node: usize) {
    head.pending.store(node, Relaxed);
    compiler_fence(std::sync::atomic::Ordering::SeqCst);
}

#[inline]
fn clear_pending(head: &Head) {
    compiler_fence(std::sync::atomic::Ordering::SeqCst);
    head.pending.store(0, Relaxed);
}

#[cfg(test)]
pub(crate) mod tests {
    use lock_core::OpenMode;
    use lock_table::{Kind, Slot, Table, TableOptions};
    use rstest::rstest;

    use super::*;

    /// Returns the first `N` slots of a new table.
    pub(crate) fn lines<const N: usize>() -> [Slot; N] {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (path, kind) = (directory.path().join("table"), Kind::new("shm", 0));
        let table = Table::open(&path, kind, OpenMode::Create, &TableOptions::default()).unwrap();
        std::array::from_fn(|id| table.slot((id as u32).into()).unwrap())
    }

    pub(crate) fn hold(slot: &Slot) -> ThisThread {
        let (thread, me) = (ThisThread::get(), slot.table().current_owner().unwrap());
        acquire_another(thread.list().unwrap(), slot.line(), me, thread.id).unwrap();
        thread
    }

    pub(crate) fn acquire_and_release(slot: &Slot) {
        let thread = hold(slot);
        release(thread.list().unwrap(), slot.line(), thread.barriers);
    }

    /// Returns the indices of the slots in the list, in the order in which the kernel walks it.
    fn listed(head: &Head, slots: &[Slot]) -> Vec<usize> {
        let mut found = vec![];
        let mut link = head.first.load(Relaxed);
        while link != std::ptr::from_ref(head).addr() {
            let at = slots.iter().position(|slot| sys::address(&slot.line().next) == link).expect("the entry is that of a slot");
            assert!(!found.contains(&at), "the list has a cycle");
            found.push(at);
            link = slots[at].line().next.load(Relaxed) as usize;
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
    fn the_list_has_exactly_the_held_locks_in_any_order_of_release(#[case] order: [usize; 3]) {
        let slots: [_; 3] = lines();
        let (thread, me) = (ThisThread::get(), slots[0].table().current_owner().unwrap());
        let head = thread.list().unwrap();
        for slot in &slots {
            acquire_another(head, slot.line(), me, thread.id).unwrap();
        }
        let mut held = vec![2, 1, 0];
        assert_eq!(listed(head, &slots), held);
        for released in order {
            release(head, slots[released].line(), thread.barriers);
            held.retain(|at| *at != released);
            assert_eq!(listed(head, &slots), held);
        }
    }

    #[test]
    fn the_description_of_an_abi_names_the_c_library() {
        let ours = describe(ABI);
        assert!(!ours.contains(library(0)), "{ours}");
        assert_eq!(describe(64 << 32 | 28), "musl, 64 bits, robust-list offset 28");
    }
}

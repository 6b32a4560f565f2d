//! Tests of lists whose entries are in shared memory that other processes write to.

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use lock_table::Owner;
use rstest::rstest;

use super::*;
use crate::robust::tests::{hold, lines};

#[test]
fn a_forked_child_starts_with_an_empty_list() {
    let [slot] = lines();
    let held = hold(&slot);
    assert_eq!(held.list().unwrap().first.load(Relaxed), address(&slot.line().next));
    // The first entry does not use its `prev`. It would if the parent linked another entry before it.
    const MARK: u64 = 0x10ad;
    slot.line().prev.store(MARK, Relaxed);
    // SAFETY: the child allocates nothing and acquires no lock that another thread may have held at the fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_empty = |head: &Head| head.first.load(Relaxed) == ptr::from_ref(head).addr();
        let fine = ThisThread::get().list().is_some_and(is_empty);
        // SAFETY: `_exit` ends the child without running destructors or handlers.
        unsafe { libc::_exit(i32::from(!fine)) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid for writes of an integer.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
    assert_eq!(held.list().unwrap().first.load(Relaxed), address(&slot.line().next), "the parent's list has changed");
    assert_eq!(slot.line().prev.load(Relaxed), MARK, "the child has written to an entry of the parent");
}

/// Private memory that a forged link points to.
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

/// Another process overwrites the links of held locks.
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
            slot.line().next.store(private.address(), Relaxed);
            slot.line().prev.store(private.address(), Relaxed);
        }
        crate::robust::release(head, slots[at].line(), thread.barriers);
        assert!(private.is_unchanged(), "a release wrote to the target of a link in shared memory");
    }
    assert!(is_empty(head), "the list still has an entry");
    assert!(thread.list().is_some_and(can_link));
}

#[test]
fn a_forged_link_past_another_lock_does_not_unlink_it() {
    let slots: [_; 2] = lines();
    slots.iter().for_each(|slot| _ = hold(slot));
    let thread = ThisThread::get();
    let head = thread.list().unwrap();
    slots[1].line().next.store(ptr::from_ref(head).addr() as u64, Relaxed);
    crate::robust::release(head, slots[1].line(), thread.barriers);
    assert_eq!(head.first.load(Relaxed), address(&slots[0].line().next));
    crate::robust::release(head, slots[0].line(), thread.barriers);
    assert!(is_empty(head));
}

#[test]
fn a_lock_whose_word_was_overwritten_is_unlinked() {
    let slots: [_; 2] = lines();
    slots.iter().for_each(|slot| _ = hold(slot));
    let thread = ThisThread::get();
    let head = thread.list().unwrap();
    for slot in &slots {
        slot.line().word.store(Owner::FIRST_IDENTITY, Relaxed);
        crate::robust::release(head, slot.line(), thread.barriers);
    }
    assert!(is_empty(head));
    let held = hold(&slots[0]);
    slots[0].line().word.store(0, Relaxed);
    forget(slots[0].line());
    assert!(is_empty(held.list().unwrap()));
}

#[test]
fn the_end_of_a_thread_follows_no_link_in_shared_memory() {
    let private = Private::new();
    let [slot] = lines();
    let line = slot.line();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            link_identity(ThisThread::get().identity_list(), line);
            line.word.store(Owner::FIRST_IDENTITY, Relaxed);
            line.next.store(private.address(), Relaxed);
        });
    });
    // The scope may end before the thread's last destructors have run.
    let is_marked = || line.word.load(Relaxed) & libc::FUTEX_OWNER_DIED != 0;
    while !is_marked() {
        std::thread::yield_now();
    }
    assert!(private.is_unchanged());
}

/// A libc mutex keeps its position in the list.
#[test]
fn no_lock_is_linked_before_a_libc_mutex() {
    let slots: [_; 2] = lines();
    let thread = hold(&slots[0]);
    let head = thread.list().unwrap();
    // Link an entry as libc does when the thread locks a robust mutex.
    let mutex = [const { AtomicUsize::new(0) }; 2];
    let (node, own) = (ptr::from_ref(&mutex[1]).expose_provenance(), address(&slots[0].line().next));
    mutex[0].store(ptr::from_ref(head).addr(), Relaxed);
    mutex[1].store(own, Relaxed);
    slots[0].line().prev.store(node as u64, Relaxed);
    head.first.store(node, Relaxed);
    assert!(!can_link(head) && thread.is_full());
    // A forged `prev` has no effect on the neighbour.
    slots[0].line().prev.store(0xdead_0000, Relaxed);
    crate::robust::release(head, slots[0].line(), thread.barriers);
    assert_eq!((head.first.load(Relaxed), mutex[1].load(Relaxed)), (node, ptr::from_ref(head).addr()));
    head.first.store(ptr::from_ref(head).addr(), Relaxed);
    assert!(can_link(head));
}

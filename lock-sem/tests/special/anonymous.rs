//! The anonymous lock: forks and panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lock_core::Cause;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork as split};

use crate::peer::Peer;
use crate::tests;

tests! {
    a_forked_child_has_a_separate_free_lock,
    names_and_identities_differ,
    a_panic_is_reported_until_an_owner_marks_the_lock_consistent,
}

fn a_forked_child_has_a_separate_free_lock() {
    let (success, output) = Peer::start(&["fork"]).finish();
    assert!(success, "{output}");
}

/// Forks while this thread and another thread each hold a lock. Runs in a peer.
pub(crate) fn fork() {
    let (theirs, ours) = (lock_sem::anonymous(), lock_sem::anonymous());
    let guard = ours.lock().unwrap();
    let state = Arc::new(AtomicU32::new(0));
    let thread = std::thread::spawn({
        let (theirs, state) = (theirs.clone(), Arc::clone(&state));
        move || {
            let _guard = theirs.lock().unwrap();
            state.store(1, Ordering::SeqCst);
            while state.load(Ordering::SeqCst) != 2 {
                std::thread::yield_now();
            }
        }
    });
    while state.load(Ordering::SeqCst) != 1 {
        std::thread::yield_now();
    }
    // SAFETY: the child may allocate, because the allocators of glibc and musl support a fork of a process with threads.
    match unsafe { split() }.unwrap() {
        ForkResult::Child => {
            let free = |lock: &lock_core::Lock| lock.try_lock().is_ok_and(|guard| guard.is_some());
            let inherited = guard.unlock().is_err();
            let alone = free(&theirs) && free(&ours) && free(&ours);
            std::process::exit(if inherited && alone { 0 } else { 1 });
        }
        ForkResult::Parent { child } => {
            assert_eq!(
                waitpid(child, None).unwrap(),
                WaitStatus::Exited(child, 0),
                "the child found a lock of its parent, or an inherited guard had an effect"
            );
        }
    }
    assert!(theirs.try_lock().unwrap().is_none(), "the child released the parent's lock");
    guard.unlock().unwrap();
    state.store(2, Ordering::SeqCst);
    thread.join().unwrap();
    assert!(theirs.try_lock().unwrap().is_some());
}

fn names_and_identities_differ() {
    let (a, b) = (lock_sem::anonymous(), lock_sem::anonymous());
    assert_ne!(format!("{a:?}"), format!("{b:?}"));
    let guards = lock_core::lock_all([&b, &a], lock_core::Deadline::Now).unwrap();
    assert_eq!(guards.len(), 2);
    assert_eq!(a.id().get(), 0);
}

fn a_panic_is_reported_until_an_owner_marks_the_lock_consistent() {
    let lock = lock_sem::anonymous();
    let thread = std::thread::spawn({
        let lock = lock.clone();
        move || {
            let _guard = lock.lock().unwrap();
            // Skips the panic hook, which prints a message.
            std::panic::resume_unwind(Box::new(lock_table::thread::id()));
        }
    });
    let panicked = *thread.join().unwrap_err().downcast::<u32>().unwrap();
    for marked in [false, false, true] {
        let mut guard = lock.lock().unwrap();
        let death = guard.recovered().expect("a thread panicked while it held the lock");
        assert_eq!((death.cause, death.holder.as_ref().unwrap().tid), (Cause::Panicked, panicked));
        if marked {
            guard.mark_consistent().unwrap();
        }
    }
    assert!(lock.lock().unwrap().recovered().is_none());
}

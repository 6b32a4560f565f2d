//! Lists of owners and waiters, most of them with libc's functions.

use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use lock_core::{ErrorDetails, ErrorKind, HeldBy};

use super::peer::{Child, Segment, kill_after, wait_until};

const WAITERS: u32 = 0x8000_0000;

/// A child that locks a mutex with libc and waits for its end.
fn libc_owner(segment: &Segment, id: u32) -> Child {
    let owner = Child::spawn(|| {
        assert_eq!(segment.mutex(id).lock(), 0);
        loop {
            nix::unistd::pause();
        }
    });
    wait_until("the child holds the lock", || segment.word(id, 0).load(SeqCst) == owner.pid());
    owner
}

#[test]
fn a_libc_owner_is_named() {
    let segment = Segment::new();
    let owner = libc_owner(&segment, 33);
    let [held] = &segment.store.held().unwrap()[..] else { panic!("one lock is held") };
    let holder = held.holder.as_ref().unwrap();
    assert_eq!((held.id.get(), holder.pid, holder.tid), (33, owner.pid(), owner.pid()));
    assert!(held.doubt.is_none() && !holder.command.is_empty());
    let error = segment.lock(33).try_lock_for(std::time::Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.holder().map(|holder| holder.pid), Some(owner.pid()), "{error}");
}

#[test]
fn a_thread_id_without_a_thread_is_no_holder() {
    let segment = Segment::new();
    let gone = kill_after(|| ());
    segment.word(1, 0).store(gone, SeqCst);
    let [held] = &segment.store.held().unwrap()[..] else { panic!("one lock is held") };
    assert!(held.doubt.as_ref().unwrap().contains("no thread has the id"), "{held:?}");
    let error = segment.lock(1).try_lock_for(std::time::Duration::from_millis(1)).unwrap_err();
    let ErrorDetails::TimedOut { held_by, .. } = error.details() else { panic!("{error}") };
    assert!(matches!(held_by, HeldBy::Unknown { .. }), "{error}");
}

#[test]
fn a_thread_that_does_not_use_the_segment_is_not_the_owner() {
    let segment = Segment::new();
    let mut other = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    segment.word(1, 0).store(other.id(), SeqCst);
    let held = segment.store.held().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    let [held] = &held[..] else { panic!("one lock is held") };
    assert!(held.holder.is_none() && held.doubt.as_ref().unwrap().contains("sleep"), "{held:?}");
}

#[test]
fn waiters_are_listed_with_the_lost_ones() {
    let segment = Segment::new();
    let _owner = libc_owner(&segment, 33);
    let waiting = Child::spawn(|| _ = segment.mutex(33).lock());
    let sleepers = || segment.store.waiting().unwrap().waiters;
    wait_until("the child waits", || sleepers().len() == 1);
    let [waiter] = &sleepers()[..] else { panic!("one thread waits") };
    assert_eq!((waiter.id.get(), waiter.thread.pid, waiter.is_lost), (33, waiting.pid(), false));
    segment.word(33, 0).fetch_and(!WAITERS, SeqCst);
    assert!(sleepers()[0].is_lost, "no release of libc wakes it");
}

#[test]
fn details_say_what_allocation_waits_for() {
    let segment = Segment::new();
    let detail = |title: &str| segment.store.details().into_iter().find(|(found, _)| *found == title).unwrap().1;
    assert_eq!(detail("segment mutex"), "free");
    assert_eq!(segment.segment_mutex().lock(), 0);
    assert!(detail("segment mutex").contains(&format!("held by pid {}", std::process::id())), "{}", detail("segment mutex"));
    thread::scope(|scope| {
        scope.spawn(|| assert!(detail("segment mutex").contains("no thread waits")));
    });
    assert_eq!(segment.segment_mutex().unlock(), 0);
}

#[test]
fn a_truncated_file_is_no_signal_for_who_asks_for_the_holder() {
    let segment = Segment::new();
    let lock = segment.lock(33);
    let asking = Child::spawn(|| {
        std::fs::File::options().write(true).open(segment.path()).unwrap().set_len(100).unwrap();
        assert!(matches!(lock.held_by(), HeldBy::Unknown { .. }));
        assert_eq!(lock.holder().unwrap(), None);
        assert_eq!(segment.store.held().unwrap_err().kind(), ErrorKind::Corrupt);
    });
    assert!(asking.join(), "the process was killed, or failed");
}

#[test]
fn a_thread_that_waits_is_not_the_owner_that_has_its_id() {
    let segment = Segment::new();
    let waiting = Child::spawn(|| {
        // As an owner with the same id in another PID namespace.
        segment.word(33, 0).store(std::process::id(), SeqCst);
        segment.mutex(33).lock();
    });
    wait_until("the child waits", || segment.store.waiting().unwrap().waiters.len() == 1);
    let [held] = &segment.store.held().unwrap()[..] else { panic!("one lock is held") };
    assert!(held.holder.is_none() && held.doubt.as_ref().unwrap().contains("another PID namespace"), "{held:?}");
    assert!(matches!(segment.lock(33).held_by(), HeldBy::Unknown { .. }));
    drop(waiting);
}

#[test]
fn a_stopped_waiter_has_not_lost_its_wake_up() {
    let segment = Segment::new();
    let owner = libc_owner(&segment, 33);
    let waiting = Child::spawn(|| _ = segment.mutex(33).lock());
    let sleepers = || segment.store.waiting().unwrap().waiters;
    wait_until("the child waits", || sleepers().len() == 1);
    let pid = nix::unistd::Pid::from_raw(waiting.pid() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    drop(owner);
    thread::sleep(std::time::Duration::from_millis(100));
    assert!(sleepers().iter().all(|waiter| !waiter.is_lost), "{:?}", sleepers());
}

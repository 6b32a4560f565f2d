//! Sessions and their locks, with a server in memory.

mod server;

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lock_core::{Cause, Deadline, ErrorKind, LockId};
use lock_session::Timing;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use server::{Server, lock, wait_until};

/// A session that no test outlives.
const LONG: Timing = Timing { ttl: Duration::from_secs(3600), margin: Duration::from_secs(60) };
/// A session that lasts for a test, and retries what fails within seconds.
const RETRIED: Timing = Timing { ttl: Duration::from_secs(60), margin: Duration::from_secs(10) };
/// A session that is soon given up.
const SHORT: Timing = Timing { ttl: Duration::from_millis(300), margin: Duration::from_millis(50) };

#[test]
fn a_lock_is_valid_for_the_time_to_live_less_the_margin() {
    let server = Server::default();
    let lock = lock(&server.store(LONG), 1);
    let guard = lock.lock().unwrap();
    let valid = guard.valid_for().unwrap().unwrap();
    assert!(valid <= LONG.ttl - LONG.margin, "{valid:?}");
    assert!(valid > LONG.ttl / 2, "{valid:?}");
}

#[test]
fn renewals_keep_a_lock() {
    let server = Server::default();
    let lock = lock(&server.store(Timing { ttl: Duration::from_secs(6), margin: Duration::from_secs(1) }), 1);
    let guard = lock.lock().unwrap();
    let before = guard.valid_for().unwrap().unwrap();
    // More time than without a renewal.
    wait_until(|| server.state().renewals >= 3);
    assert!(guard.valid_for().unwrap().unwrap() > before / 2);
    guard.check().unwrap();
    guard.unlock().unwrap();
}

#[test]
fn a_lock_is_given_up_before_an_unreachable_server_frees_it() {
    let server = Server::default();
    let lock = lock(&server.store(SHORT), 1);
    let guard = lock.lock().unwrap();
    let (sender, lost) = channel();
    let seen = server.clone();
    guard.on_lost(move || sender.send(seen.state().locks.len()).unwrap()).unwrap();
    server.state().is_unreachable = true;
    assert_eq!(lost.recv_timeout(Duration::from_secs(30)).unwrap(), 1, "the server has not freed the lock");
    assert_eq!(guard.valid_for().unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(guard.on_lost(|| ()).unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(guard.check().unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::Lost);
}

#[test]
fn a_server_that_is_reached_again_does_not_give_a_lost_lock_back() {
    let server = Server::default();
    let store = server.store(SHORT);
    let lock = lock(&store, 1);
    let guard = lock.lock().unwrap();
    server.state().is_unreachable = true;
    wait_until(|| guard.valid_for().is_err());
    server.state().is_unreachable = false;
    assert_eq!(guard.check().unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(lock.lock().unwrap_err().kind(), ErrorKind::AlreadyHeld, "the guard exists");
    assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::Lost);
    server.end(1);
    let guard = lock.lock().unwrap();
    assert_eq!(guard.recovered().unwrap().cause, Cause::SessionEnded);
    assert_eq!(server.state().locks[&LockId::new(1)].session, 2);
}

#[test]
fn a_release_that_the_server_does_not_get_is_repeated() {
    let server = Server::default();
    let lock = lock(&server.store(RETRIED), 1);
    let guard = lock.lock().unwrap();
    server.state().is_unreachable = true;
    assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::Unreachable);
    server.state().is_unreachable = false;
    wait_until(|| server.state().locks.is_empty());
    assert!(lock.lock().unwrap().recovered().is_none(), "the release was a normal one");
}

#[test]
fn the_server_can_take_a_single_lock_away() {
    let server = Server::default();
    let store = server.store(LONG);
    let (taken, kept) = (lock(&store, 1), lock(&store, 2));
    let (guard, other) = (taken.lock().unwrap(), kept.lock().unwrap());
    let (sender, lost) = channel();
    guard.on_lost(move || sender.send(()).unwrap()).unwrap();
    server.state().locks.remove(&LockId::new(1));
    assert_eq!(guard.check().unwrap_err().kind(), ErrorKind::Lost);
    lost.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(guard.valid_for().unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(guard.unlock().unwrap_err().kind(), ErrorKind::Lost);
    other.check().unwrap();
    other.unlock().unwrap();
}

#[test]
fn a_function_of_a_released_lock_is_not_called() {
    let server = Server::default();
    let lock = lock(&server.store(SHORT), 1);
    let guard = lock.lock().unwrap();
    let (sender, lost) = channel::<()>();
    guard.on_lost(move || sender.send(()).unwrap()).unwrap();
    guard.unlock().unwrap();
    assert_eq!(lost.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_lost_guard_of_the_process_is_not_mistaken_for_a_newer_one() {
    let server = Server::default();
    let lock = lock(&server.store(LONG), 1);
    let old = lock.lock_send().unwrap();
    server.state().locks.remove(&LockId::new(1));
    let new = lock.lock_send().unwrap();
    assert_eq!(old.check().unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(old.unlock().unwrap_err().kind(), ErrorKind::Lost);
    new.check().unwrap();
    new.unlock().unwrap();
}

#[test]
fn a_waiter_whose_session_ends_goes_on_in_another_one() {
    let server = Server::default();
    let (owner, waiter) = (server.store(LONG), server.store(LONG));
    let (held, wanted) = (lock(&owner, 1), lock(&waiter, 1));
    let guard = held.lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wanted.lock_by(Deadline::Never).map(|guard| guard.unlock().unwrap()));
        wait_until(|| server.state().started == 2);
        server.end(2);
        wait_until(|| server.state().started == 3);
        guard.unlock().unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn closing_a_store_ends_its_session() {
    let server = Server::default();
    let store = server.store(LONG);
    lock(&store, 1).lock().unwrap().unlock().unwrap();
    assert_eq!(server.state().sessions, [1]);
    drop(store);
    assert_eq!(server.state().sessions, [0u64; 0]);
}

#[test]
fn a_forked_child_has_its_own_session() {
    let server = Server::default();
    let store = server.store(LONG);
    let (first, second) = (lock(&store, 1), lock(&store, 2));
    let guard = first.lock().unwrap();
    // SAFETY: the child uses locks of this crate, whose values it does not inherit, and ends without unwinding.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let is_right = || {
                let own = second.lock().ok()?;
                let state = server.state();
                let is_own = state.started == 2 && state.sessions == [1, 2] && state.locks[&LockId::new(2)].session == 2;
                drop(state);
                let refused = guard.check().is_err_and(|error| error.kind() == ErrorKind::NotHeld);
                own.unlock().ok()?;
                drop((first.clone(), Arc::clone(&store)));
                (is_own && refused).then_some(())
            };
            // SAFETY: `_exit` ends the process.
            unsafe { nix::libc::_exit(i32::from(is_right().is_none())) }
        }
        ForkResult::Parent { child } => assert!(matches!(waitpid(child, None).unwrap(), WaitStatus::Exited(_, 0))),
    }
    guard.check().unwrap();
}

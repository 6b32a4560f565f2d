//! Lost and surplus units, caused by the kernel, by another program, or by a change of the user. The ownership word decides, and
//! the next owners restore the units.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lock_sem::sysv;

use crate::peer::Peer;
use crate::{Store, tests};

tests! {
    an_owner_that_loses_its_undo_keeps_the_lock,
    #[isolated] an_owner_that_leaves_its_ipc_namespace_keeps_the_lock,
    the_lock_of_an_owner_killed_without_undo_is_recovered,
    a_unit_from_another_program_does_not_acquire_a_held_lock,
    a_unit_that_another_program_takes_is_replaced,
    processes_exclude_each_other_while_a_program_sets_the_value,
    #[isolated] an_owner_that_may_no_longer_change_the_set_releases_the_lock,
}

/// Long enough for a waiter to check several times whether the owner is dead.
const SEVERAL_CHECKS: Duration = Duration::from_millis(700);

/// The semaphore of lock 0, used as by another program of the user.
struct Semaphore(i32);

impl Semaphore {
    fn of(store: &Store) -> Self {
        let sets: Vec<_> = sysv::sets().unwrap().into_iter().filter(|set| set.store == store.store.id()).collect();
        let [set] = &sets[..] else { panic!("one set: {sets:?}") };
        Self(set.semid)
    }

    fn value(&self) -> i32 {
        // SAFETY: the call takes numbers only.
        unsafe { libc::semctl(self.0, 0, libc::GETVAL) }
    }

    fn set_value(&self, value: i32) {
        // SAFETY: the call takes numbers only.
        assert_eq!(unsafe { libc::semctl(self.0, 0, libc::SETVAL, value) }, 0);
    }
}

/// Starts a peer that holds lock 0.
fn holder(store: &Store) -> Peer {
    let mut holder = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(holder.next_line(), "held");
    holder
}

/// Sends a command to the holder and asserts its answer.
fn assert_answer(holder: &mut Peer, command: &str, answer: &str) {
    holder.send(command);
    assert_eq!(holder.next_line(), answer);
}

/// Asserts that the holder keeps the lock, and that a waiter acquires it after the release.
fn assert_holder_keeps_and_releases(store: &Store, mut holder: Peer) {
    let lock = store.store.retrieve(0).unwrap();
    let mut waiter = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(waiter.next_line(), "waiting");
    for _ in 0..3 {
        assert!(lock.try_lock().unwrap().is_none(), "the lock of a living owner was granted");
    }
    lock.try_lock_for(SEVERAL_CHECKS).map(drop).expect_err("the lock of a living owner was granted");
    assert_eq!(store.store.held().unwrap()[0].holder.as_ref().unwrap().pid, holder.pid());
    assert_answer(&mut holder, "unlock", "unlocked");
    assert_eq!(waiter.next_line(), "got");
    assert!(lock.try_lock().unwrap().is_none(), "the lock was granted to two processes");
    waiter.send("go");
    assert!(waiter.finish().0);
    assert!(lock.lock().unwrap().recovered().is_none());
    assert_eq!(Semaphore::of(store).value(), 1, "the free lock does not have one unit");
    drop(holder);
    drop(lock.lock().unwrap());
}

fn an_owner_that_loses_its_undo_keeps_the_lock() {
    let store = Store::new("sem", "");
    let mut holder = holder(&store);
    assert_answer(&mut holder, "leave undo", "left");
    assert_eq!(Semaphore::of(&store).value(), 1, "the kernel did not give the unit back");
    assert_holder_keeps_and_releases(&store, holder);
}

fn an_owner_that_leaves_its_ipc_namespace_keeps_the_lock() {
    let store = Store::new("sem", "");
    let mut holder = holder(&store);
    assert_answer(&mut holder, "leave IPC", "left");
    assert_eq!(Semaphore::of(&store).value(), 1, "the kernel did not give the unit back");
    assert_holder_keeps_and_releases(&store, holder);
}

fn the_lock_of_an_owner_killed_without_undo_is_recovered() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    for waits_before in [false, true] {
        let mut holder = holder(&store);
        assert_answer(&mut holder, "leave undo", "left");
        if waits_before {
            lock.try_lock_for(SEVERAL_CHECKS).map(drop).expect_err("the lock of a living owner was granted");
        }
        let dead = holder.kill();
        let mut guard = lock.lock().unwrap();
        assert_eq!(guard.recovered().unwrap().holder.as_ref().unwrap().pid, dead);
        guard.mark_consistent().unwrap();
        drop(guard);
        assert_eq!(Semaphore::of(&store).value(), 1, "the free lock does not have one unit");
    }
}

fn a_unit_from_another_program_does_not_acquire_a_held_lock() {
    let store = Store::new("sem", "");
    let holder = holder(&store);
    Semaphore::of(&store).set_value(1);
    assert_holder_keeps_and_releases(&store, holder);
}

fn a_unit_that_another_program_takes_is_replaced() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    drop(lock.lock().unwrap());
    let semaphore = Semaphore::of(&store);
    semaphore.set_value(0);
    drop(lock.lock().unwrap());
    assert_eq!(semaphore.value(), 1);
    semaphore.set_value(0);
    while lock.try_lock().unwrap().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(semaphore.value(), 1);
}

/// Sets the flag on drop, including a drop during a panic.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn processes_exclude_each_other_while_a_program_sets_the_value() {
    let store = Store::new("sem", "");
    drop(store.store.retrieve(0).unwrap().lock().unwrap());
    let semaphore = Semaphore::of(&store);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u32.. {
                // A low-discrepancy sequence: every pair of the three values occurs often.
                semaphore.set_value((f64::from(round) * 0.618_033_988_749 % 1.0 * 3.0) as i32);
                std::thread::sleep(Duration::from_micros(u64::from(round * 7919 % 10_000)));
                if ended.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let _end = SetOnDrop(&ended);
        crate::undo::assert_exclusion(&store, 4, 100);
    });
}

fn an_owner_that_may_no_longer_change_the_set_releases_the_lock() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut holder = holder(&store);
    assert_answer(&mut holder, "become another user", "became");
    assert!(lock.try_lock().unwrap().is_none());
    assert_answer(&mut holder, "unlock", "unlocked");
    let guard = lock.try_lock().unwrap().expect("the holder released the lock");
    assert!(guard.recovered().is_none());
    drop(guard);
    holder.send("lock");
    let refusal = holder.next_line();
    assert!(refusal.contains("this user may not change") && refusal.contains("PermissionDenied"), "{refusal}");
    assert!(holder.finish().0);
    drop(lock.try_lock().unwrap().expect("no process has the lock"));
}

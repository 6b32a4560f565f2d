//! Semaphores whose units are not what the locks made them: the kernel, another program or a change of the user is the cause.
//! The word in the table decides, and the units are put right.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lock_sem::sysv;

use crate::peer::Peer;
use crate::{Store, tests};

tests! {
    an_owner_that_loses_its_undo_keeps_the_lock,
    #[alone] an_owner_that_leaves_its_ipc_namespace_keeps_the_lock,
    an_owner_that_is_killed_without_undo_is_recovered,
    a_unit_that_another_program_gives_lets_no_process_in,
    a_unit_that_another_program_takes_is_made_up_for,
    a_program_that_sets_the_value_at_any_time_lets_one_in_at_a_time,
    #[alone] an_owner_that_may_not_change_the_set_any_more_releases_the_lock,
}

/// Long enough for a waiter to ask for proof of a death several times.
const A_WHILE: Duration = Duration::from_millis(700);

/// The semaphore of lock 0, as another program of the user sees it.
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

fn holder(store: &Store) -> Peer {
    let mut holder = Peer::start(&["hold", &store.url, "0"]);
    assert_eq!(holder.says(), "held");
    holder
}

fn is_told(holder: &mut Peer, what: &str, answer: &str) {
    holder.hears(what);
    assert_eq!(holder.says(), answer);
}

/// Asserts that the holder keeps the lock, and that its release lets a waiter in.
fn keeps_and_releases(store: &Store, mut holder: Peer) {
    let lock = store.store.retrieve(0).unwrap();
    let mut waiter = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(waiter.says(), "waiting");
    for _ in 0..3 {
        assert!(lock.try_lock().unwrap().is_none(), "the owner lives");
    }
    lock.try_lock_for(A_WHILE).map(drop).expect_err("the owner lives");
    assert_eq!(store.store.held().unwrap()[0].holder.as_ref().unwrap().pid, holder.pid());
    is_told(&mut holder, "unlock", "unlocked");
    assert_eq!(waiter.says(), "got");
    assert!(lock.try_lock().unwrap().is_none(), "the waiter has it");
    waiter.hears("go");
    assert!(waiter.ends().0);
    assert!(lock.lock().unwrap().recovered().is_none());
    assert_eq!(Semaphore::of(store).value(), 1, "a free lock has one unit");
    drop(holder);
    drop(lock.lock().unwrap());
}

fn an_owner_that_loses_its_undo_keeps_the_lock() {
    let store = Store::new("sem", "");
    let mut holder = holder(&store);
    is_told(&mut holder, "leave undo", "left");
    assert_eq!(Semaphore::of(&store).value(), 1, "the kernel gives back what the process took");
    keeps_and_releases(&store, holder);
}

fn an_owner_that_leaves_its_ipc_namespace_keeps_the_lock() {
    let store = Store::new("sem", "");
    let mut holder = holder(&store);
    is_told(&mut holder, "leave IPC", "left");
    assert_eq!(Semaphore::of(&store).value(), 1, "the kernel gives back what the process took");
    keeps_and_releases(&store, holder);
}

fn an_owner_that_is_killed_without_undo_is_recovered() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    for waits_before in [false, true] {
        let mut holder = holder(&store);
        is_told(&mut holder, "leave undo", "left");
        if waits_before {
            lock.try_lock_for(A_WHILE).map(drop).expect_err("the owner lives");
        }
        let dead = holder.kill();
        let mut guard = lock.lock().unwrap();
        assert_eq!(guard.recovered().unwrap().holder.as_ref().unwrap().pid, dead);
        guard.mark_consistent().unwrap();
        drop(guard);
        assert_eq!(Semaphore::of(&store).value(), 1, "a free lock has one unit");
    }
}

fn a_unit_that_another_program_gives_lets_no_process_in() {
    let store = Store::new("sem", "");
    let holder = holder(&store);
    Semaphore::of(&store).set_value(1);
    keeps_and_releases(&store, holder);
}

fn a_unit_that_another_program_takes_is_made_up_for() {
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

/// Sets the flag when it is dropped, by a panic, too.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn a_program_that_sets_the_value_at_any_time_lets_one_in_at_a_time() {
    let store = Store::new("sem", "");
    drop(store.store.retrieve(0).unwrap().lock().unwrap());
    let semaphore = Semaphore::of(&store);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u32.. {
                // A low-discrepancy sequence: of the three values, each often follows each.
                semaphore.set_value((f64::from(round) * 0.618_033_988_749 % 1.0 * 3.0) as i32);
                std::thread::sleep(Duration::from_micros(u64::from(round * 7919 % 10_000)));
                if ended.load(Ordering::SeqCst) {
                    break;
                }
            }
        });
        let _end = End(&ended);
        crate::undo::let_one_in_at_a_time(&store, 4, 100);
    });
}

fn an_owner_that_may_not_change_the_set_any_more_releases_the_lock() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let mut holder = holder(&store);
    is_told(&mut holder, "become another user", "became");
    assert!(lock.try_lock().unwrap().is_none());
    is_told(&mut holder, "unlock", "unlocked");
    let guard = lock.try_lock().unwrap().expect("it was released");
    assert!(guard.recovered().is_none());
    drop(guard);
    holder.hears("lock");
    let said = holder.says();
    assert!(said.contains("this user may not change") && said.contains("PermissionDenied"), "{said}");
    assert!(holder.ends().0);
    drop(lock.try_lock().unwrap().expect("no process has it"));
}

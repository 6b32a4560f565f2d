//! The life of semaphore sets: creation, discovery, copies, and removal with the store.

use std::fs;
use std::path::Path;

use lock_core::{ErrorKind, OpenMode};
use lock_sem::sysv;

use crate::peer::{Peer, kill_at_random, open};
use crate::{Store, tests};

tests! {
    concurrent_processes_create_one_set_for_each_run,
    #[isolated] destroy_removes_the_sets_of_killed_creators,
    #[isolated] the_next_open_finishes_the_removal_of_a_killed_process,
    #[isolated] small_stores_have_small_sets,
    sets_name_their_store_and_first_id,
    handles_exclude_each_other_after_the_store_and_its_sets_are_removed,
    a_set_that_another_program_removed_is_an_error,
    #[isolated] a_set_of_another_program_with_the_same_key_is_neither_used_nor_removed,
    #[isolated] a_copy_of_a_store_has_separate_sets,
    #[isolated] a_store_in_use_is_refused_in_another_ipc_namespace,
}

fn sets_of(store: &Store) -> Vec<sysv::SemaphoreSet> {
    sysv::sets().unwrap().into_iter().filter(|set| set.store == store.store.id()).collect()
}

/// Counts all sets of this IPC namespace.
fn count_sets() -> usize {
    fs::read_to_string("/proc/sysvipc/sem").unwrap().lines().count() - 1
}

fn concurrent_processes_create_one_set_for_each_run() {
    let store = Store::new("sem", "?capacity=16384");
    let mut peers: Vec<_> = (0..6).map(|_| Peer::start(&["touch_runs", &store.url, "16"])).collect();
    for peer in &mut peers {
        assert_eq!(peer.next_line(), "working");
    }
    for peer in &mut peers {
        assert_eq!(peer.next_line(), "done");
    }
    let mut firsts: Vec<_> = sets_of(&store).iter().map(|set| set.first.get()).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..16).map(|run| run * 1024).collect::<Vec<_>>());
    store.store.destroy().unwrap();
    assert_eq!(sets_of(&store), []);
}

fn destroy_removes_the_sets_of_killed_creators() {
    let mut created = 0;
    for _ in 0..8 {
        let store = Store::new("sem", "?capacity=1048576");
        kill_at_random(25, || Peer::start(&["touch_runs", &store.url, "1024"]), || ());
        created += count_sets();
        let last = store.store.retrieve(1_048_575).unwrap();
        drop(last.lock().unwrap());
        store.store.destroy().unwrap();
        assert_eq!(count_sets(), 0, "destroy left a set");
    }
    assert!(created > 8, "the creators were killed before they created a set");
}

fn the_next_open_finishes_the_removal_of_a_killed_process() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let url = format!("sem:{}/store?capacity=65536", directory.path().display());
    // With 48 sets, most removals are killed before they finish.
    let create_sets = || (0..48).for_each(|run| drop(open(&url, OpenMode::OpenOrCreate).unwrap().retrieve(run * 1024).unwrap()));
    create_sets();
    let start = || Peer::start(&["destroy", &url]);
    let mut create = false;
    kill_at_random(200, start, || {
        create = !create;
        let mode = if create { OpenMode::Create } else { OpenMode::OpenOrCreate };
        match open(&url, mode) {
            Ok(store) => {
                drop(store.retrieve(47 * 1024).unwrap().try_lock().unwrap().expect("the lock of a new store is free"));
            }
            // The removal was killed before it began.
            Err(error) => assert!(create && matches!(error.kind(), ErrorKind::Exists), "{error:?}"),
        }
        create_sets();
    });
    open(&url, OpenMode::OpenOrCreate).unwrap().destroy().unwrap();
    assert_eq!(count_sets(), 0);
    assert!(matches!(open(&url, OpenMode::Open).unwrap_err().kind(), ErrorKind::Absent));
}

fn small_stores_have_small_sets() {
    let store = Store::new("sem", "?capacity=8");
    drop(store.store.retrieve(7).unwrap().lock().unwrap());
    let listed = fs::read_to_string("/proc/sysvipc/sem").unwrap();
    let semaphores: Vec<_> = listed.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap().to_owned()).collect();
    assert_eq!(semaphores, ["21"], "8 semaphores for locks and 13 for the identity");
}

fn sets_name_their_store_and_first_id() {
    let store = Store::new("sem", "?capacity=unbounded");
    drop(store.store.retrieve(5000).unwrap());
    let [set] = sets_of(&store)[..] else { panic!("one run was touched: {:?}", sets_of(&store)) };
    assert_eq!(set.first.get(), 4096);
    assert_eq!(set.key >> 24, 0x4c);
    let details = store.store.details();
    let (_, listed) = details.iter().find(|(title, _)| *title == "semaphore sets").unwrap();
    assert!(listed.contains(&set.semid.to_string()) && listed.contains("0x4c"), "{listed}");
}

fn handles_exclude_each_other_after_the_store_and_its_sets_are_removed() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let guard = lock.lock().unwrap();
    let mut waiter = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(waiter.next_line(), "waiting");
    while lock.waiters() != Some(1) {
        std::thread::yield_now();
    }
    store.store.destroy().unwrap();
    assert_eq!(sets_of(&store), []);
    guard.unlock().unwrap();
    assert_eq!(waiter.next_line(), "got");
    assert!(lock.try_lock().unwrap().is_none(), "the lock was granted to two processes");
    let dead = waiter.kill();
    let guard = lock.lock().unwrap();
    assert_eq!(guard.recovered().unwrap().holder.as_ref().unwrap().pid, dead);
}

fn a_set_that_another_program_removed_is_an_error() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let guard = lock.lock().unwrap();
    let mut waiter = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(waiter.next_line(), "waiting");
    while lock.waiters() != Some(1) {
        std::thread::yield_now();
    }
    for set in sets_of(&store) {
        set.remove().unwrap();
        set.remove().expect("removing a removed set succeeds");
    }
    assert!(waiter.next_line().starts_with("Corrupt"), "the waiter did not report the removed set");
    for error in [guard.unlock().unwrap_err(), lock.try_lock().unwrap_err(), store.store.retrieve(1).unwrap_err()] {
        assert!(matches!(error.kind(), ErrorKind::Corrupt), "{error:?}");
        assert!(error.to_string().contains("ipcrm"), "{error}");
    }
    drop(waiter);
    store.store.destroy().expect("a store without its sets can be destroyed");
}

/// Sets of another program have the first key of run 0 of this store.
fn a_set_of_another_program_with_the_same_key_is_neither_used_nor_removed() {
    let store = Store::new("sem", "?capacity=8");
    drop(store.store.retrieve(0).unwrap());
    let [ours] = sets_of(&store)[..] else { panic!("one set") };
    ours.remove().unwrap();
    let create_foreign = |semaphores| {
        // SAFETY: the call takes numbers only.
        unsafe { libc::semget(ours.key as i32, semaphores, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) }
    };
    // Clears the record of the set.
    let clear_record = || {
        use std::os::unix::fs::FileExt;
        // The record is at byte 48 of the first line. The header, the process entries and the bitmaps precede the line.
        let line = 4096 + 16_384 * (128 + 32) + 4096;
        let file = fs::File::options().write(true).open(store.directory().join("store")).unwrap();
        file.write_all_at(&[0; 8], line + 48).unwrap();
    };
    for semaphores in [1, 21, 22] {
        let foreign = create_foreign(semaphores);
        assert!(foreign >= 0);
        let step = |number, change| {
            let mut step = libc::sembuf { sem_num: number, sem_op: change, sem_flg: 0 };
            // SAFETY: the pointer refers to one valid step.
            assert_eq!(unsafe { libc::semop(foreign, &raw mut step, 1) }, 0);
        };
        // A set of the same size has another identity.
        step(semaphores as u16 - 1, 1);
        if semaphores == 21 {
            step(8, 1);
        }
        clear_record();
        drop(store.store.retrieve(0).unwrap().lock().unwrap());
        let [new] = sets_of(&store)[..] else { panic!("one set: {:?}", sets_of(&store)) };
        assert_ne!((new.key, new.semid), (ours.key, foreign));
        new.remove().unwrap();
        assert_eq!(count_sets(), 1, "the set of the other program was removed");
        // SAFETY: the call takes numbers only.
        assert_eq!(unsafe { libc::semctl(foreign, 0, libc::IPC_RMID) }, 0);
    }
}

fn a_copy_of_a_store_has_separate_sets() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let [original, copy] = ["original", "copy"].map(|name| directory.path().join(name));
    let url = |path: &Path| format!("sem:{}", path.display());
    // The owner is killed, because a copy is refused while the original is in use.
    let mut owner = Peer::start(&["make_and_hold", &url(&original)]);
    assert_eq!(owner.next_line(), "held");
    fs::copy(&original, &copy).unwrap();
    owner.kill();
    let [original, copy] = [original, copy].map(|path| open(&url(&path), OpenMode::Open).unwrap());
    let [in_original, in_copy] = [&original, &copy].map(|store| store.retrieve(0).unwrap());
    let guards = [&in_original, &in_copy].map(|lock| lock.try_lock().unwrap().expect("the owner is dead"));
    assert_eq!(count_sets(), 2);
    drop(guards);
    copy.destroy().unwrap();
    assert_eq!(count_sets(), 1);
    drop(in_original.try_lock().unwrap().expect("the lock was released"));
    original.destroy().unwrap();
}

fn a_store_in_use_is_refused_in_another_ipc_namespace() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let url = format!("sem:{}/store", directory.path().display());
    let mut user = Peer::start(&["make_and_hold", &url]);
    assert_eq!(user.next_line(), "held");
    let refusal = Peer::start(&["open_elsewhere", &url]).next_line();
    assert!(refusal.starts_with("Untrusted") && refusal.contains("IPC namespace"), "{refusal}");
    user.kill();
    // After the only user is dead, a process in another IPC namespace can use the store, and then this one again.
    assert_eq!(Peer::start(&["open_elsewhere", &url]).next_line(), "locked");
    let store = open(&url, OpenMode::Open).unwrap();
    assert!(store.retrieve(0).unwrap().try_lock().unwrap().is_some());
    store.destroy().unwrap();
    assert_eq!(count_sets(), 0);
}

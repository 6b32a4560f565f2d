//! Sets: made once, found by all, and gone with their store.

use std::fs;
use std::path::Path;

use lock_core::{ErrorKind, OpenMode};
use lock_sem::sysv;

use crate::peer::{Peer, kill_at_random, open};
use crate::{Store, tests};

tests! {
    racing_makers_agree_on_one_set_for_each_run,
    #[alone] killed_makers_leave_no_set_that_a_removal_does_not_find,
    #[alone] a_removal_that_was_cut_short_is_finished_by_the_next_who_opens,
    #[alone] small_stores_have_small_sets,
    sets_name_their_store_and_first_id,
    handles_exclude_each_other_when_store_and_sets_are_gone,
    a_set_that_somebody_removed_is_an_error_and_no_hang,
    #[alone] a_key_that_is_taken_by_another_program_is_left_alone,
    #[alone] a_copy_of_a_store_has_sets_of_its_own,
    #[alone] a_store_is_refused_in_another_namespace_while_it_is_used,
}

fn sets_of(store: &Store) -> Vec<sysv::SemaphoreSet> {
    sysv::sets().unwrap().into_iter().filter(|set| set.store == store.store.id()).collect()
}

/// All sets of this IPC namespace, whosever.
fn all_sets() -> usize {
    fs::read_to_string("/proc/sysvipc/sem").unwrap().lines().count() - 1
}

fn racing_makers_agree_on_one_set_for_each_run() {
    let store = Store::new("sem", "?capacity=16384");
    let mut peers: Vec<_> = (0..6).map(|_| Peer::start(&["touch_runs", &store.url, "16"])).collect();
    for peer in &mut peers {
        assert_eq!(peer.says(), "working");
    }
    for peer in &mut peers {
        assert_eq!(peer.says(), "done");
    }
    let mut firsts: Vec<_> = sets_of(&store).iter().map(|set| set.first.get()).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..16).map(|run| run * 1024).collect::<Vec<_>>());
    store.store.destroy().unwrap();
    assert_eq!(sets_of(&store), []);
}

fn killed_makers_leave_no_set_that_a_removal_does_not_find() {
    let mut made = 0;
    for _ in 0..8 {
        let store = Store::new("sem", "?capacity=1048576");
        kill_at_random(25, || Peer::start(&["touch_runs", &store.url, "1024"]), || ());
        made += all_sets();
        let last = store.store.retrieve(1_048_575).unwrap();
        drop(last.lock().unwrap());
        store.store.destroy().unwrap();
        assert_eq!(all_sets(), 0, "sets are left that the removal did not find");
    }
    assert!(made > 8, "the makers were killed before they made anything");
}

fn a_removal_that_was_cut_short_is_finished_by_the_next_who_opens() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let url = format!("sem:{}/store?capacity=65536", directory.path().display());
    // Enough sets that a removal takes a while.
    let make = || (0..48).for_each(|run| drop(open(&url, OpenMode::OpenOrCreate).unwrap().retrieve(run * 1024).unwrap()));
    make();
    let start = || Peer::start(&["destroy", &url]);
    let mut create = false;
    kill_at_random(200, start, || {
        create = !create;
        let mode = if create { OpenMode::Create } else { OpenMode::OpenOrCreate };
        match open(&url, mode) {
            Ok(store) => {
                drop(store.retrieve(47 * 1024).unwrap().try_lock().unwrap().expect("a lock that nobody has"));
            }
            // It was killed before it began.
            Err(error) => assert!(create && matches!(error.kind(), ErrorKind::Exists), "{error:?}"),
        }
        make();
    });
    open(&url, OpenMode::OpenOrCreate).unwrap().destroy().unwrap();
    assert_eq!(all_sets(), 0);
    assert!(matches!(open(&url, OpenMode::Open).unwrap_err().kind(), ErrorKind::Absent));
}

fn small_stores_have_small_sets() {
    let store = Store::new("sem", "?capacity=8");
    drop(store.store.retrieve(7).unwrap().lock().unwrap());
    let listed = fs::read_to_string("/proc/sysvipc/sem").unwrap();
    let semaphores: Vec<_> = listed.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap().to_owned()).collect();
    assert_eq!(semaphores, ["21"], "eight locks, and thirteen that say whose they are");
}

fn sets_name_their_store_and_first_id() {
    let store = Store::new("sem", "?capacity=unbounded");
    drop(store.store.retrieve(5000).unwrap());
    let [set] = sets_of(&store)[..] else { panic!("one run was touched: {:?}", sets_of(&store)) };
    assert_eq!(set.first.get(), 4096);
    assert_eq!(set.key >> 24, 0x4c);
    let details = store.store.details();
    let (_, told) = details.iter().find(|(title, _)| *title == "semaphore sets").unwrap();
    assert!(told.contains(&set.semid.to_string()) && told.contains("0x4c"), "{told}");
}

fn handles_exclude_each_other_when_store_and_sets_are_gone() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let guard = lock.lock().unwrap();
    let mut waiter = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(waiter.says(), "waiting");
    while lock.waiters() != Some(1) {
        std::thread::yield_now();
    }
    store.store.destroy().unwrap();
    assert_eq!(sets_of(&store), []);
    guard.unlock().unwrap();
    assert_eq!(waiter.says(), "got");
    assert!(lock.try_lock().unwrap().is_none(), "the waiter has it");
    let dead = waiter.kill();
    let guard = lock.lock().unwrap();
    assert_eq!(guard.recovered().unwrap().holder.as_ref().unwrap().pid, dead);
}

fn a_set_that_somebody_removed_is_an_error_and_no_hang() {
    let store = Store::new("sem", "");
    let lock = store.store.retrieve(0).unwrap();
    let guard = lock.lock().unwrap();
    let mut waiter = Peer::start(&["wait", &store.url, "0"]);
    assert_eq!(waiter.says(), "waiting");
    while lock.waiters() != Some(1) {
        std::thread::yield_now();
    }
    for set in sets_of(&store) {
        set.remove().unwrap();
        set.remove().expect("that it is gone already is no error");
    }
    assert!(waiter.says().starts_with("Corrupt"), "its semaphore is gone");
    for error in [guard.unlock().unwrap_err(), lock.try_lock().unwrap_err(), store.store.retrieve(1).unwrap_err()] {
        assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("ipcrm"), "{error}");
    }
    drop(waiter);
    store.store.destroy().expect("what is left of the store can be removed");
}

/// A stranger's sets have our keys: the first ones of run 0 of this store, and are neither used nor removed.
fn a_key_that_is_taken_by_another_program_is_left_alone() {
    let store = Store::new("sem", "?capacity=8");
    drop(store.store.retrieve(0).unwrap());
    let [ours] = sets_of(&store)[..] else { panic!("one set") };
    ours.remove().unwrap();
    let make = |semaphores| {
        // SAFETY: the call takes numbers only.
        unsafe { libc::semget(ours.key as i32, semaphores, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) }
    };
    // As if the set had never been made.
    let forget_the_set = || {
        use std::os::unix::fs::FileExt;
        // The record of the set is the sixth of the eight words of the first line, which stands behind header, entries and
        // bitmaps.
        let line = 4096 + 16_384 * 128 + 4096;
        let file = fs::File::options().write(true).open(store.directory().join("store")).unwrap();
        file.write_all_at(&[0; 8], line + 48).unwrap();
    };
    for semaphores in [1, 21, 22] {
        let foreign = make(semaphores);
        assert!(foreign >= 0);
        let step = |number, change| {
            let mut step = libc::sembuf { sem_num: number, sem_op: change, sem_flg: 0 };
            // SAFETY: there is one step, and it is valid.
            assert_eq!(unsafe { libc::semop(foreign, &raw mut step, 1) }, 0);
        };
        // One of our size says that it is another program's.
        step(semaphores as u16 - 1, 1);
        if semaphores == 21 {
            step(8, 1);
        }
        forget_the_set();
        drop(store.store.retrieve(0).unwrap().lock().unwrap());
        let [made] = sets_of(&store)[..] else { panic!("one set: {:?}", sets_of(&store)) };
        assert_ne!((made.key, made.semid), (ours.key, foreign));
        made.remove().unwrap();
        assert_eq!(all_sets(), 1, "the stranger's is there still");
        // SAFETY: the call takes numbers only.
        assert_eq!(unsafe { libc::semctl(foreign, 0, libc::IPC_RMID) }, 0);
    }
}

fn a_copy_of_a_store_has_sets_of_its_own() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let [original, copy] = ["original", "copy"].map(|name| directory.path().join(name));
    let url = |path: &Path| format!("sem:{}", path.display());
    // A copy is refused while the original is in use.
    let mut owner = Peer::start(&["make_and_hold", &url(&original)]);
    assert_eq!(owner.says(), "held");
    fs::copy(&original, &copy).unwrap();
    owner.kill();
    let [original, copy] = [original, copy].map(|path| open(&url(&path), OpenMode::Open).unwrap());
    let [in_original, in_copy] = [&original, &copy].map(|store| store.retrieve(0).unwrap());
    let guards = [&in_original, &in_copy].map(|lock| lock.try_lock().unwrap().expect("its owner is dead"));
    assert_eq!(all_sets(), 2);
    drop(guards);
    copy.destroy().unwrap();
    assert_eq!(all_sets(), 1);
    drop(in_original.try_lock().unwrap().expect("it was released"));
    original.destroy().unwrap();
}

fn a_store_is_refused_in_another_namespace_while_it_is_used() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let url = format!("sem:{}/store", directory.path().display());
    let mut user = Peer::start(&["make_and_hold", &url]);
    assert_eq!(user.says(), "held");
    let said = Peer::start(&["open_elsewhere", &url]).says();
    assert!(said.starts_with("NotOurs") && said.contains("IPC namespace"), "{said}");
    user.kill();
    // When nobody uses it here any more, its sets may as well be there; and then here again.
    assert_eq!(Peer::start(&["open_elsewhere", &url]).says(), "locked");
    let store = open(&url, OpenMode::Open).unwrap();
    assert!(store.retrieve(0).unwrap().try_lock().unwrap().is_some());
    store.destroy().unwrap();
    assert_eq!(all_sets(), 0);
}

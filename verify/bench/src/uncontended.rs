//! Uncontended lock and unlock, and attempts on a busy lock.

use std::fs::File;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use fs4::FileExt;
use lock_any::{Lock, OpenMode, Store};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::effort::Effort;
use crate::peers::glibc::Board;
use crate::peers::{calls, lxc};
use crate::promise;
use crate::rounds::{Subject, compare};
use crate::row::Row;
use crate::scratch::Scratch;
use crate::sys::Region;
use crate::unit::Unit;

const MEMORY: &str = "lock + unlock in memory, uncontended";
const KERNEL: &str = "lock + unlock in the kernel, uncontended";
const BUSY: &str = "an attempt on a lock that another thread holds";

// Inlined like the peers, so that ours has no additional call.
#[inline(always)]
fn pair(lock: &Lock) {
    drop(lock.lock().expect("it is uncontended"));
}

/// Measures locks without system calls.
pub(crate) fn in_memory(scratch: &Scratch, board: &Board, effort: &Effort) -> Vec<Row> {
    let store = scratch.create("shm", "memory", "");
    let by_url = store.allocate("by URL").expect("a lock");
    let named = Store::with_backend(
        lock_any::registry().expect("a registry").find("shm").expect("it is linked"),
        &store.url().parse().expect("a URL"),
        OpenMode::Open,
    );
    let by_backend = named.and_then(|store| store.allocate("by backend")).expect("a lock");
    let posix = scratch.create("posix-sem", "memory-posix", "").allocate("").expect("a lock");
    let (word, robust, plain, semaphore) = (AtomicU32::new(0), board.robust(), board.plain(), board.semaphore());
    let (parking, std_mutex) = (parking_lot::Mutex::new(()), std::sync::Mutex::new(()));
    let raw_sync_memory = Region::create(&scratch.path().join("raw_sync"), 4096);
    let raw_sync = raw_sync_memory.raw_sync_mutex();
    let samples = compare(
        effort.rounds,
        [
            Subject::new("shm, opened by URL", || pair(&by_url)),
            Subject::new("shm, opened by its backend", || pair(&by_backend)),
            Subject::new("guard that owns a handle", || drop(by_url.lock_owned().expect("it is uncontended"))),
            Subject::new("guard of the process", || drop(by_url.lock_send().expect("it is uncontended"))),
            Subject::new("posix-sem", || pair(&posix)),
            Subject::new("glibc mutex, process-shared, robust", || {
                robust.lock();
                robust.unlock();
            }),
            Subject::new("glibc mutex, process-shared", || {
                plain.lock();
                plain.unlock();
            }),
            Subject::new("bare compare-exchange + exchange", || {
                black_box(word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok());
                black_box(word.swap(0, Ordering::Release));
            }),
            Subject::new("bare compare-exchange + store", || {
                black_box(word.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok());
                word.store(0, Ordering::Release);
            }),
            Subject::new("sem_wait + sem_post", || {
                semaphore.wait();
                semaphore.post();
            }),
            Subject::new("parking_lot::Mutex (one process)", || drop(black_box(parking.lock()))),
            Subject::new("std::sync::Mutex (one process)", || drop(black_box(std_mutex.lock()))),
            Subject::new("raw_sync::Mutex", || drop(black_box(raw_sync.lock().expect("it is uncontended")))),
        ],
    );
    let [by_url, by_backend, owned, send, posix, robust, plain, exchange, stored, sem_t, parking, std_mutex, raw_sync] = samples;
    vec![
        by_url.beside(&robust, MEMORY, "shm").promise(promise::SHM_TO_ROBUST),
        by_url.beside(&exchange, MEMORY, "shm").promise(promise::SHM_TO_BARE),
        by_url.beside(&stored, MEMORY, "shm"),
        by_url.beside(&plain, MEMORY, "shm"),
        by_url.beside(&sem_t, MEMORY, "shm"),
        by_url.beside(&raw_sync, MEMORY, "shm"),
        by_url.beside(&parking, MEMORY, "shm"),
        by_url.beside(&std_mutex, MEMORY, "shm"),
        by_backend.beside(&by_url, MEMORY, "shm, opened by its backend, without URL"),
        owned.beside(&by_url, MEMORY, "shm, with a guard that owns a handle").promise(promise::OWNED_TO_BORROWED),
        send.beside(&by_url, MEMORY, "shm, with a guard of the process (SendGuard)").promise(promise::SEND_TO_BORROWED),
        posix.beside(&sem_t, MEMORY, "posix-sem").promise(promise::POSIX_TO_BARE),
    ]
}

/// Measures locks with system calls.
pub(crate) fn in_the_kernel(scratch: &Scratch, effort: &Effort) -> Vec<Row> {
    let lock = |scheme, name| scratch.create(scheme, name, "").allocate("").expect("a lock");
    let (file, sem) = (lock("file", "kernel-file"), lock("sem", "kernel-sem"));
    let run = scratch.path().join("lxc-run");
    std::fs::create_dir(&run).expect("a directory");
    let container = lock_any::open_or_create(format!("lxc:/x?name=x&rundir={}", run.display()));
    let container = container.and_then(|store| store.single()).expect("LXC's lock");
    let new = |name: &str| -> (PathBuf, File) {
        let path = scratch.path().join(name);
        let file = File::create_new(&path).expect("a file");
        (path, file)
    };
    let ((_, bare), (_, flock), (sequence, _), (named, _)) = (new("bare"), new("flock"), new("sequence"), new("named"));
    let mut fd_lock = fd_lock::RwLock::new(new("fd_lock").1);
    let (_, fs4) = new("fs4");
    let named = named_lock::NamedLock::with_path(named).expect("a lock");
    let set = scratch.semaphore_set();
    let samples = compare(
        effort.rounds,
        [
            Subject::new("file", || pair(&file)),
            Subject::new("sem", || pair(&sem)),
            Subject::new("lxc", || pair(&container)),
            Subject::new("two bare fcntl (OFD)", || {
                calls::ofd_lock(&bare);
                calls::ofd_unlock(&bare);
            }),
            Subject::new("two bare flock", || calls::flock_pair(&flock)),
            Subject::new("LXC's open, lock, unlock, close", || lxc::sequence(&sequence)),
            Subject::new("two bare semop (SEM_UNDO)", || {
                set.take();
                set.give();
            }),
            Subject::new("fd_lock::RwLock", || drop(fd_lock.write().expect("it is uncontended"))),
            Subject::new("fs4::FileExt", || {
                FileExt::lock(&fs4).expect("it is uncontended");
                FileExt::unlock(&fs4).expect("it is locked");
            }),
            Subject::new("named_lock::NamedLock", || drop(named.lock().expect("it is uncontended"))),
        ],
    );
    let [file, sem, container, ofd, flock, sequence, semop, fd_lock, fs4, named] = samples;
    let mut rows = vec![
        file.beside(&ofd, KERNEL, "file, on a kept handle").promise(promise::FILE_TO_BARE),
        file.beside(&sequence, KERNEL, "file, on a kept handle").promise(promise::FILE_TO_LXC),
    ];
    rows.extend([&flock, &fd_lock, &fs4, &named].map(|peer| file.beside(peer, KERNEL, "file, on a kept handle")));
    rows.push(sem.beside(&semop, KERNEL, "sem").promise(promise::SEM_TO_BARE));
    rows.push(container.beside(&sequence, KERNEL, "lxc"));
    rows
}

/// Compares a store with many held locks with a store without.
pub(crate) fn among_others(scratch: &Scratch, effort: &Effort) -> Vec<Row> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    if soft < hard {
        // An error is ignored: too low a limit is reported below.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let room = usize::try_from(soft.max(hard)).unwrap_or(usize::MAX).saturating_sub(200);
    ["shm", "file", "sem"].map(|scheme| row_among_others(scratch, effort, scheme, room)).into()
}

fn row_among_others(scratch: &Scratch, effort: &Effort, scheme: &str, room: usize) -> Row {
    let name = format!("{scheme}, with {} others held by the process", effort.others_held);
    if scheme == "file" && room < effort.others_held {
        let why = format!("the process may have {room} descriptors, and each held lock needs one");
        return Row::unmeasured(KERNEL, name, Unit::Nanoseconds, why);
    }
    let store = |which: &str| scratch.create(scheme, &format!("{scheme}-{which}"), "");
    let (full, empty) = (store("others"), store("no-others"));
    let (among, alone) = (full.allocate("").expect("a lock"), empty.allocate("").expect("a lock"));
    let others: Vec<_> = (0..effort.others_held).map(|_| full.allocate("").expect("a lock")).collect();
    let guards: Vec<_> = others.iter().map(|lock| lock.lock().expect("it is uncontended")).collect();
    let subjects = [Subject::new("with them", || pair(&among)), Subject::new("with none held", || pair(&alone))];
    let [with, without] = compare(effort.rounds, subjects);
    drop(guards);
    let row = with.beside(&without, if scheme == "shm" { MEMORY } else { KERNEL }, name);
    if scheme == "file" { row.promise(promise::FILE_AMONG_OTHERS) } else { row }
}

/// Measures `try_lock` while another thread holds the lock.
pub(crate) fn busy(scratch: &Scratch, board: &Board, effort: &Effort) -> Vec<Row> {
    let stores = ["shm", "file", "sem"].map(|scheme| scratch.create(scheme, &format!("busy-{scheme}"), ""));
    let held = || stores.each_ref().map(|store| store.retrieve(0).expect("a lock"));
    let file = scratch.path().join("busy-bare");
    let (theirs, ours) =
        (File::create_new(&file).expect("a file"), File::options().write(true).open(&file).expect("it is there"));
    let (ready, done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let locks = held();
            let guards = locks.each_ref().map(|lock| lock.lock().expect("it is uncontended"));
            board.robust().lock();
            calls::ofd_lock(&theirs);
            ready.wait();
            done.wait();
            board.robust().unlock();
            drop(guards);
        });
        ready.wait();
        let [shm, file, sem] = held();
        let attempt = |lock: &Lock| assert!(lock.try_lock().expect("an attempt can be made").is_none(), "it is held");
        let samples = compare(
            effort.rounds,
            [
                Subject::new("shm", || attempt(&shm)),
                Subject::new("file", || attempt(&file)),
                Subject::new("sem", || attempt(&sem)),
                Subject::new("pthread_mutex_trylock, robust", || assert!(!board.robust().try_lock(), "it is held")),
                Subject::new("bare fcntl F_OFD_SETLK", || assert!(!calls::ofd_try_lock(&ours), "it is held")),
            ],
        );
        done.wait();
        let [shm, file, sem, trylock, ofd] = samples;
        let shm = shm.beside(&trylock, BUSY, "shm").promise(promise::BUSY_TO_ROBUST);
        vec![shm, file.beside(&ofd, BUSY, "file"), sem.row(BUSY, "sem")]
    })
}

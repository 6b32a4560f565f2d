//! Threads that wait, found by their ids.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use lock_proc::{FileId, State, Thread};
use memmap2::MmapMut;
use nix::fcntl::{FcntlArg, fcntl};

const WAIT: Duration = Duration::from_secs(60);

fn eventually<T>(mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        match find() {
            Some(found) => return found,
            None => assert!(start.elapsed() < WAIT, "nothing was found for {WAIT:?}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn own_tid() -> u32 {
    // SAFETY: the call has no arguments and always succeeds.
    unsafe { libc::gettid() as u32 }
}

/// A word of a file that is mapped twice, at different addresses.
struct Word {
    file: tempfile::NamedTempFile,
    map: MmapMut,
}

const OFFSET: usize = 4096 + 64;

impl Word {
    fn new() -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 * 4096).unwrap();
        // SAFETY: only this test changes the file, by atomic operations.
        let map = unsafe { MmapMut::map_mut(file.as_file()).unwrap() };
        Self { file, map }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping contains the offset, which is aligned, and other threads use the word only by atomic operations.
        unsafe { &*self.map.as_ptr().add(OFFSET).cast::<AtomicU32>() }
    }

    /// Sleeps while the word has this value. `private` is `FUTEX_PRIVATE_FLAG` or 0.
    fn sleep(&self, value: u32, private: libc::c_int) {
        while self.word().load(Acquire) == value {
            let timeout: *const libc::timespec = std::ptr::null();
            // SAFETY: the word is mapped during the call.
            unsafe { libc::syscall(libc::SYS_futex, self.word().as_ptr(), libc::FUTEX_WAIT | private, value, timeout) };
        }
    }

    /// Starts a thread that sleeps on the word, calls `examine` with its id, and wakes it.
    fn while_a_thread_sleeps(&self, private: libc::c_int, examine: impl FnOnce(u32)) {
        let (send, tids) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                send.send(own_tid()).unwrap();
                self.sleep(0, private);
            });
            examine(tids.recv().unwrap());
            self.wake(1);
        });
    }

    fn wake(&self, value: u32) {
        self.word().store(value, Release);
        for private in [0, libc::FUTEX_PRIVATE_FLAG] {
            // SAFETY: the word is mapped during the call.
            unsafe { libc::syscall(libc::SYS_futex, self.word().as_ptr(), libc::FUTEX_WAKE | private, i32::MAX) };
        }
    }
}

#[test]
fn a_thread_that_sleeps_on_a_word_of_a_file_is_found_until_it_is_woken() {
    let word = Word::new();
    let file = FileId::of(word.file.path()).unwrap();
    word.while_a_thread_sleeps(0, |tid| {
        let waiter = eventually(|| lock_proc::futex_waiters(&file).found.into_iter().find(|waiter| waiter.thread.tid == tid));
        assert_eq!((waiter.offset, waiter.value), (OFFSET as u64, 0));
        assert_eq!((waiter.thread.pid, waiter.thread.state), (std::process::id(), State::Sleeping));
        assert_eq!(waiter.thread.activity(), "it sleeps in futex(2)");
        assert!(waiter.thread.maps(&file).unwrap());
    });
    assert_eq!(lock_proc::futex_waiters(&file).found, []);
}

#[test]
fn the_time_of_a_sleep_is_known_where_the_kernel_says_it() {
    let word = Word::new();
    word.while_a_thread_sleeps(0, |tid| {
        let asleep = || Thread::find(tid).filter(|thread| thread.state == State::Sleeping);
        eventually(asleep);
        let start = Instant::now();
        let found = asleep().expect("no thread has woken it");
        // Kernels without CONFIG_SCHED_DEBUG do not say it.
        if found.asleep().is_some() {
            let time = eventually(|| found.asleep().filter(|time| *time >= Duration::from_millis(250)));
            assert!(time <= start.elapsed() + WAIT, "{time:?}");
        }
        assert!(found.age().is_some_and(|age| age < Duration::from_secs(24 * 3600)));
    });
}

#[test]
fn a_sleep_on_a_private_futex_is_not_one_on_the_file() {
    let word = Word::new();
    let file = FileId::of(word.file.path()).unwrap();
    word.while_a_thread_sleeps(libc::FUTEX_PRIVATE_FLAG, |tid| {
        eventually(|| Thread::find(tid).filter(|thread| thread.activity() == "it sleeps in futex(2)"));
        assert_eq!(lock_proc::futex_waiters(&file).found, []);
    });
}

#[test]
fn the_owner_of_a_file_lock_and_its_waiter_are_found() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let id = FileId::of(file.path()).unwrap();
    let user = || lock_proc::file_users(&id).found.into_iter().find(|user| user.process.pid == std::process::id()).unwrap();
    assert!(!user().has_lock);
    let lock = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(file.as_file(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    assert_eq!((user().has_lock, user().descriptors, user().is_mapped), (true, 1, false));
    let (send, tids) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let other = File::options().write(true).open(file.path()).unwrap();
            send.send(own_tid()).unwrap();
            fcntl(&other, FcntlArg::F_OFD_SETLKW(&lock)).unwrap();
        });
        let tid = tids.recv().unwrap();
        let waiter = eventually(|| lock_proc::file_lock_waiters(&id).found.into_iter().find(|waiter| waiter.tid == tid));
        assert_eq!(waiter.activity(), "it sleeps in fcntl(2)");
        let unlock = libc::flock { l_type: libc::F_UNLCK as i16, ..lock };
        fcntl(file.as_file(), FcntlArg::F_OFD_SETLK(&unlock)).unwrap();
    });
    assert_eq!(lock_proc::file_lock_waiters(&id).found, []);
}

#[test]
fn flock_of_another_program_is_found() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let id = FileId::of(file.path()).unwrap();
    // SAFETY: the descriptor is open during the call.
    assert_eq!(unsafe { libc::flock(file.as_file().as_raw_fd(), libc::LOCK_EX) }, 0);
    let command = Command::new("flock").arg(file.path()).arg("true").stdin(Stdio::null()).spawn();
    let Ok(mut flock) = command else {
        eprintln!("skipped: flock(1) is not installed");
        return;
    };
    let waiter = eventually(|| lock_proc::file_lock_waiters(&id).found.pop());
    assert_eq!(waiter.pid, flock.id());
    assert!(waiter.command.starts_with("flock "), "{}", waiter.command);
    // SAFETY: the descriptor is open during the call.
    assert_eq!(unsafe { libc::flock(file.as_file().as_raw_fd(), libc::LOCK_UN) }, 0);
    assert!(flock.wait().unwrap().success());
}

#[test]
fn a_thread_that_does_not_exist_is_none() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    assert!(Thread::find(child.id()).is_none() && !Thread::exists(child.id()));
    assert!(Thread::exists(std::process::id()) && Thread::exists(own_tid()) && !Thread::exists(0));
}

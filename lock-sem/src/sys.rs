//! The unsafe code of this crate: System V semaphore calls, and `sem_t`.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use libc::{c_int, c_uint};
use lock_table::Hot;
use nix::errno::Errno;
use nix::sys::stat::fstat;

/// What the kernel says of a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SetStatus {
    pub(crate) key: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) semaphores: u64,
    /// When somebody last operated on it, in seconds since the epoch; 0 when nobody ever did.
    pub(crate) operated: i64,
}

/// The kernel's `struct semid64_ds`. On 64-bit processors, glibc and musl pass it through `semctl` unchanged; the crate `libc`
/// declares it for glibc only.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SetRecord {
    key: i32,
    uid: u32,
    gid: u32,
    creator: [u32; 2],
    mode: u32,
    sequence: u16,
    unused: [u64; 2],
    operated: [i64; TIME],
    changed: [i64; TIME],
    semaphores: u64,
    unused_too: [u64; 2],
}

/// Number of words of a time in [`SetRecord`]; the first word is the time.
const TIME: usize = if cfg!(target_arch = "x86_64") { 2 } else { 1 };

#[cfg(target_env = "gnu")]
const _: () = {
    assert!(size_of::<SetRecord>() == size_of::<libc::semid_ds>());
    assert!(offset_of!(SetRecord, mode) == offset_of!(libc::ipc_perm, mode));
    assert!(offset_of!(SetRecord, operated) == offset_of!(libc::semid_ds, sem_otime));
    assert!(offset_of!(SetRecord, semaphores) == offset_of!(libc::semid_ds, sem_nsems));
};

/// The argument of `semctl`, which C programs declare themselves.
#[repr(C)]
union Argument {
    value: c_int,
    record: *mut SetRecord,
}

/// Finds the set with this key, or makes it.
pub(crate) fn find_or_make(key: i32, semaphores: u16, mode: u32) -> Result<i32, Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semget(key, semaphores.into(), libc::IPC_CREAT | (mode & 0o777) as c_int) })
}

/// Finds the set with this key.
pub(crate) fn find(key: i32) -> Result<i32, Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semget(key, 0, 0) })
}

pub(crate) fn status(set: i32) -> Result<SetStatus, Errno> {
    let record = read_record(set)?;
    Ok(SetStatus {
        key: record.key,
        uid: record.uid,
        gid: record.gid,
        mode: record.mode & 0o777,
        semaphores: record.semaphores,
        operated: record.operated[0],
    })
}

fn read_record(set: i32) -> Result<SetRecord, Errno> {
    let mut record = SetRecord::default();
    // SAFETY: the call writes a `struct semid64_ds` to the place, which is valid for that.
    Errno::result(unsafe { libc::semctl(set, 0, libc::IPC_STAT, Argument { record: &raw mut record }) })?;
    Ok(record)
}

/// Gives the set to this user and group, with this mode.
pub(crate) fn give_away(set: i32, uid: u32, gid: u32, mode: u32) -> Result<(), Errno> {
    let mut record = SetRecord { uid, gid, mode, ..read_record(set)? };
    // SAFETY: the call reads the record, which is whole.
    Errno::result(unsafe { libc::semctl(set, 0, libc::IPC_SET, Argument { record: &raw mut record }) }).map(drop)
}

pub(crate) fn remove(set: i32) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semctl(set, 0, libc::IPC_RMID) }).map(drop)
}

pub(crate) fn value(set: i32, semaphore: u16) -> Result<u16, Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semctl(set, semaphore.into(), libc::GETVAL) }).map(|value| value as u16)
}

/// Sets the value, and clears what any process would undo of this semaphore.
pub(crate) fn set_value(set: i32, semaphore: u16, value: u16) -> Result<(), Errno> {
    // SAFETY: the call reads a number.
    Errno::result(unsafe { libc::semctl(set, semaphore.into(), libc::SETVAL, Argument { value: value.into() }) }).map(drop)
}

/// How many wait until the value grows.
pub(crate) fn waiters(set: i32, semaphore: u16) -> Result<u32, Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semctl(set, semaphore.into(), libc::GETNCNT) }).map(c_int::unsigned_abs)
}

/// One step of an operation.
pub(crate) const fn step(semaphore: u16, change: i16, flags: c_int) -> libc::sembuf {
    libc::sembuf { sem_num: semaphore, sem_op: change, sem_flg: flags as i16 }
}

/// Does all steps, or none.
#[inline]
pub(crate) fn operate(set: i32, steps: &[libc::sembuf]) -> Result<(), Errno> {
    // SAFETY: the steps are valid, and as many as the call is told. It only reads them, though its declaration has no `const`.
    Errno::result(unsafe { libc::semop(set, steps.as_ptr().cast_mut(), steps.len()) }).map(drop)
}

/// The same, waiting for no longer than this (on the monotonic clock).
pub(crate) fn operate_within(set: i32, steps: &[libc::sembuf], duration: Duration) -> Result<(), Errno> {
    let timeout = timespec(duration);
    // SAFETY: the steps are valid and as many as the call is told. It only reads them and the time.
    let done = unsafe { libc::syscall(libc::SYS_semtimedop, set, steps.as_ptr(), steps.len(), &raw const timeout) };
    Errno::result(done).map(drop)
}

/// The device and the inode of the calling thread's IPC namespace, from Linux 6.11 on.
pub(crate) fn ipc_namespace_of_this_thread() -> Result<(u64, u64), Errno> {
    const PIDFD_THREAD: c_int = libc::O_EXCL;
    const PIDFD_GET_IPC_NAMESPACE: u32 = 0xff02;
    // SAFETY: the call takes numbers only.
    let thread = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, nix::unistd::gettid().as_raw(), PIDFD_THREAD) })?;
    // SAFETY: the call returned a new descriptor, which nothing else owns.
    let thread = unsafe { OwnedFd::from_raw_fd(thread as RawFd) };
    // SAFETY: this request takes no argument, and returns a new descriptor.
    let namespace = Errno::result(unsafe { libc::ioctl(thread.as_raw_fd(), PIDFD_GET_IPC_NAMESPACE as _, 0) })?;
    // SAFETY: as above.
    let namespace = unsafe { OwnedFd::from_raw_fd(namespace) };
    let stat = fstat(&namespace)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// A `sem_t` that is initialised and stays where it is.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Semaphore(UnsafeCell<libc::sem_t>);

// What the calls on a `sem_t` of a store rest on, which every process that has the store open may write to, by mistake or on
// purpose:
//
// - A `sem_t` of glibc or musl has a number of units, a number of waiters and a constant (whether only one process uses it). It
//   has no pointer and no index. The functions access these fields and nothing else in memory, and make futex calls with the
//   address of the first. So all numbers are valid for them. Rust code accesses the bytes through `UnsafeCell` and atomic types
//   only, so that it assumes nothing of them.
// - Wrong numbers make wrong results: a unit too many or too few, EOVERFLOW, a waiter that is not woken. The lock bears that: its
//   tenant decides, and sleeps are bounded.
// - glibc makes the constant a part of the number of the futex operation, and aborts the process where the kernel does not know
//   the operation. So `Semaphore::of` compares the constant before each use. That catches damage. It does not stop a process that
//   changes the constant just between the comparison and the call, which can end this process, or have it make another futex
//   operation. Nor does anything stop such a process from writing itself into the lock as the tenant. A store is for processes
//   that trust each other so far; its mode says which they are.

// SAFETY: the functions of libc on an initialised `sem_t` may be called by all threads at a time.
unsafe impl Sync for Semaphore {}
// SAFETY: a `sem_t` belongs to no thread. (It is moved only in its box.)
unsafe impl Send for Semaphore {}

/// What of the ABI programs must have in common to share a `sem_t`: its size, that of a pointer, and which libc it is.
pub(crate) const ABI: u64 = {
    assert!(size_of::<libc::sem_t>() <= size_of::<Hot>() - offset_of!(Hot, next), "a sem_t fits into the line, behind `next`");
    assert!(offset_of!(Hot, next) % align_of::<libc::sem_t>() == 0 && align_of::<Hot>() >= align_of::<libc::sem_t>());
    assert!(offset_of!(Hot, spare) == offset_of!(Hot, next) + 8, "the second word of the sem_t is `spare[0]`");
    let libc = if cfg!(target_env = "gnu") { GLIBC } else { MUSL };
    (libc << 32) | ((usize::BITS as u64) << 16) | size_of::<libc::sem_t>() as u64
};

const GLIBC: u64 = 1;
const MUSL: u64 = 2;

/// Names the C library of the programs that an [`ABI`] stands for.
pub(crate) fn describe(abi: u64) -> String {
    let library = match abi >> 32 {
        GLIBC => "glibc",
        MUSL => "musl",
        _ => "another C library",
    };
    format!("{library}, {} bits, sem_t of {} bytes", (abi >> 16) & 0xffff, abi & 0xffff)
}

/// In `word` of a line: its semaphore is initialised.
const READY: u32 = 1;

/// The second word of a `sem_t` that processes share: the constant behind the numbers of units and of waiters.
#[inline]
fn constant() -> u64 {
    static KNOWN: AtomicU64 = AtomicU64::new(NOT_KNOWN);
    // Neither libc sets all bits.
    const NOT_KNOWN: u64 = u64::MAX;
    match KNOWN.load(Relaxed) {
        NOT_KNOWN => {
            let example = [const { AtomicU64::new(0) }; size_of::<libc::sem_t>() / 8];
            // SAFETY: the array has the size and the alignment of a `sem_t`, and no other thread knows of it.
            let done = unsafe { libc::sem_init(ptr::from_ref(&example).cast_mut().cast(), 1, 0) };
            assert_eq!(done, 0, "sem_init takes any value up to SEM_VALUE_MAX: {}", Errno::last());
            let constant = example[1].load(Relaxed);
            KNOWN.store(constant, Relaxed);
            constant
        }
        known => known,
    }
}

impl Semaphore {
    /// A semaphore between the threads of this process.
    pub(crate) fn private(value: c_uint) -> Box<Self> {
        let semaphore = Box::new(Self(UnsafeCell::new(
            // SAFETY: a `sem_t` is made of bytes; it becomes a semaphore in the next step.
            unsafe { MaybeUninit::zeroed().assume_init() },
        )));
        // SAFETY: the place is valid, no other thread knows of it yet, and it stays where it is: in the box.
        let done = unsafe { libc::sem_init(semaphore.0.get(), 0, value) };
        assert_eq!(done, 0, "sem_init takes any value up to SEM_VALUE_MAX: {}", Errno::last());
        semaphore
    }

    /// The semaphore of a line; `None` before its first owner has made it.
    ///
    /// # Errors
    /// EINVAL when the line is damaged.
    #[inline]
    pub(crate) fn of(line: &Hot) -> Result<Option<&Self>, Errno> {
        if line.word.load(Acquire) != READY {
            return Ok(None);
        }
        if line.spare[0].load(Relaxed) != constant() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the semaphore is within the line and aligned for it (both asserted in `ABI`), and lives as long as the line.
        // Other processes may write to it; see above `Semaphore` why that is sound.
        Ok(Some(unsafe { &*Self::place(line).cast::<Self>() }))
    }

    /// Makes the semaphore of a line, with the value 0. To be called by the owner of the lock, and no other thread.
    pub(crate) fn make_of(line: &Hot) {
        if line.word.load(Acquire) != READY {
            line.spare.iter().for_each(|word| word.store(0, Relaxed));
            // SAFETY: the place is valid for a `sem_t`, as above. The call stores into it without atomic operations. Threads that
            // keep the protocol do not access it meanwhile: they do not before the line is READY, and there is one owner at a
            // time; an earlier one that began this and did not end it is dead. Where the line is damaged, another thread may be
            // in a call on these bytes. Both accesses are the C library's; the other one may read a mixture of old and new
            // fields, as after any damage.
            let done = unsafe { libc::sem_init(Self::place(line), 1, 0) };
            assert_eq!(done, 0, "sem_init takes any value up to SEM_VALUE_MAX: {}", Errno::last());
            line.word.store(READY, Release);
        }
    }

    fn place(line: &Hot) -> *mut libc::sem_t {
        // All fields of a line are atomic, so that its bytes may change behind a shared reference.
        ptr::from_ref(line).cast_mut().wrapping_byte_add(offset_of!(Hot, next)).cast()
    }

    /// Takes a unit, if there is one.
    #[inline]
    pub(crate) fn try_take(&self) -> Result<bool, Errno> {
        // SAFETY: it is an initialised semaphore, for as long as `self` is borrowed; in a store, whatever other processes write
        // to it, see above `Semaphore`.
        match Errno::result(unsafe { libc::sem_trywait(self.0.get()) }) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Takes a unit, waiting for no longer than this on the monotonic clock, and without a limit with `None`. It may return false sooner, as
    /// after a signal: the caller checks the clock.
    pub(crate) fn take_within(&self, duration: Option<Duration>) -> Result<bool, Errno> {
        let done = match duration {
            // SAFETY: as in `try_take`.
            None => unsafe { libc::sem_wait(self.0.get()) },
            Some(duration) => {
                // SAFETY: as in `try_take`.
                unsafe { timed_wait(self.0.get(), duration) }
            }
        };
        match Errno::result(done) {
            Ok(_) => Ok(true),
            Err(Errno::ETIMEDOUT | Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Gives a unit, and wakes one that waits for it.
    #[inline]
    pub(crate) fn give(&self) -> Result<(), Errno> {
        // SAFETY: as in `try_take`.
        Errno::result(unsafe { libc::sem_post(self.0.get()) }).map(drop)
    }
}

/// The call behind [`Semaphore::take_within`].
pub(crate) const TIMED_WAIT: &str = if cfg!(target_env = "musl") { "sem_timedwait" } else { "sem_clockwait" };

/// # Safety
/// `sem` is an initialised semaphore.
#[cfg(not(target_env = "musl"))]
unsafe fn timed_wait(sem: *mut libc::sem_t, duration: Duration) -> c_int {
    unsafe extern "C" {
        /// In glibc since 2.30; the crate `libc` does not declare it.
        fn sem_clockwait(sem: *mut libc::sem_t, clock: libc::clockid_t, deadline: *const libc::timespec) -> c_int;
    }
    let deadline = timespec(now(libc::CLOCK_MONOTONIC).saturating_add(duration));
    // SAFETY: the semaphore is initialised, says the caller; the call reads the time.
    unsafe { sem_clockwait(sem, libc::CLOCK_MONOTONIC, &raw const deadline) }
}

/// musl has no `sem_clockwait`, and a deadline of its `sem_timedwait` is on the clock that can be set. Before it sleeps, it subtracts
/// that clock from the deadline, and the kernel counts the rest by the monotonic clock. So a clock that is set during the sleep changes
/// nothing. A clock that is set forward before the sleep ends the call early, and the caller, which checks the monotonic clock, calls
/// again. A clock that is set back prolongs a sleep only if it is set between the two readings of the clock, or if a thread is
/// woken and finds the unit taken; then the sleep ends with the next unit. The slice bounds the time for which that is possible.
///
/// # Safety
/// `sem` is an initialised semaphore.
#[cfg(target_env = "musl")]
unsafe fn timed_wait(sem: *mut libc::sem_t, duration: Duration) -> c_int {
    const SLICE: Duration = Duration::from_millis(100);
    let deadline = timespec(now(libc::CLOCK_REALTIME).saturating_add(duration.min(SLICE)));
    // SAFETY: the semaphore is initialised, says the caller; the call reads the time.
    unsafe { libc::sem_timedwait(sem, &raw const deadline) }
}

fn timespec(duration: Duration) -> libc::timespec {
    // The crate `libc` is about to change the type's width on musl, and deprecates its name there.
    let tv_sec = duration.as_secs().try_into().unwrap_or(i32::MAX.into());
    libc::timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}

fn now(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a time to the place, which is valid for that.
    let done = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(done, 0, "these clocks are always there: {}", Errno::last());
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

//! The unsafe code of this crate: System V semaphore calls and `sem_t`.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::RefUnwindSafe;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use libc::{c_int, c_uint};
use lock_table::LockLine;
use nix::errno::Errno;
use nix::sys::stat::fstat;

/// The kernel's description of a semaphore set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SetStatus {
    pub(crate) key: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    pub(crate) semaphores: u64,
    /// The time of the last operation (`sem_otime`) in seconds since the Unix epoch. 0 is none.
    pub(crate) operated: i64,
}

/// The kernel's `struct semid64_ds`.
///
/// On 64-bit processors, `semctl` of glibc and musl passes it unchanged. The crate `libc` declares it for glibc only.
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

/// Number of words of a time in [`SetRecord`]. The first word contains the time.
const TIME: usize = if cfg!(target_arch = "x86_64") { 2 } else { 1 };

#[cfg(target_env = "gnu")]
const _: () = {
    assert!(size_of::<SetRecord>() == size_of::<libc::semid_ds>());
    assert!(offset_of!(SetRecord, mode) == offset_of!(libc::ipc_perm, mode));
    assert!(offset_of!(SetRecord, operated) == offset_of!(libc::semid_ds, sem_otime));
    assert!(offset_of!(SetRecord, semaphores) == offset_of!(libc::semid_ds, sem_nsems));
};

/// The fourth argument of `semctl`, `union semun` in `semctl(2)`. No C header declares it.
#[repr(C)]
union Argument {
    value: c_int,
    record: *mut SetRecord,
}

/// Finds or creates the set with this key.
pub(crate) fn find_or_create(key: i32, semaphores: u16, mode: u32) -> Result<i32, Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semget(key, semaphores.into(), libc::IPC_CREAT | (mode & 0o777) as c_int) })
}

/// Finds the set with this key.
pub(crate) fn find(key: i32) -> Result<i32, Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semget(key, 0, 0) })
}

/// Reads the description of a set.
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
    // SAFETY: the call writes a `struct semid64_ds`, and `record` is valid for that.
    Errno::result(unsafe { libc::semctl(set, 0, libc::IPC_STAT, Argument { record: &raw mut record }) })?;
    Ok(record)
}

/// Sets the user, group and mode of a set.
pub(crate) fn set_owner(set: i32, uid: u32, gid: u32, mode: u32) -> Result<(), Errno> {
    let mut record = SetRecord { uid, gid, mode, ..read_record(set)? };
    // SAFETY: the call reads the record, which is initialized.
    Errno::result(unsafe { libc::semctl(set, 0, libc::IPC_SET, Argument { record: &raw mut record }) }).map(drop)
}

/// Removes a set.
pub(crate) fn remove(set: i32) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semctl(set, 0, libc::IPC_RMID) }).map(drop)
}

/// Reads the value of a semaphore.
pub(crate) fn value(set: i32, semaphore: u16) -> Result<u16, Errno> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::semctl(set, semaphore.into(), libc::GETVAL) }).map(|value| value as u16)
}

/// Sets the value of a semaphore, and clears the undo adjustments of all processes for it.
pub(crate) fn set_value(set: i32, semaphore: u16, value: u16) -> Result<(), Errno> {
    // SAFETY: the call reads a number.
    Errno::result(unsafe { libc::semctl(set, semaphore.into(), libc::SETVAL, Argument { value: value.into() }) }).map(drop)
}

/// Returns one step of a `semop` call.
pub(crate) const fn step(semaphore: u16, change: i16, flags: c_int) -> libc::sembuf {
    libc::sembuf { sem_num: semaphore, sem_op: change, sem_flg: flags as i16 }
}

/// Executes all steps or none.
#[inline]
pub(crate) fn operate(set: i32, steps: &[libc::sembuf]) -> Result<(), Errno> {
    // SAFETY: the pointer and the length are those of the slice. The call only reads the steps, although its parameter is
    // mutable.
    Errno::result(unsafe { libc::semop(set, steps.as_ptr().cast_mut(), steps.len()) }).map(drop)
}

/// Executes all steps, waiting for at most `duration` on the monotonic clock.
pub(crate) fn operate_within(set: i32, steps: &[libc::sembuf], duration: Duration) -> Result<(), Errno> {
    let timeout = timespec(duration);
    // SAFETY: the pointer and the length are those of the slice. The call only reads the steps and the time-out.
    let done = unsafe { libc::syscall(libc::SYS_semtimedop, set, steps.as_ptr(), steps.len(), &raw const timeout) };
    Errno::result(done).map(drop)
}

/// Returns the device and inode of the calling thread's IPC namespace. Requires Linux 6.11.
pub(crate) fn ipc_namespace_of_this_thread() -> Result<(u64, u64), Errno> {
    const PIDFD_THREAD: c_int = libc::O_EXCL;
    const PIDFD_GET_IPC_NAMESPACE: u32 = 0xff02;
    // SAFETY: the call takes numbers only.
    let thread = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, nix::unistd::gettid().as_raw(), PIDFD_THREAD) })?;
    // SAFETY: the call returned a new descriptor, which has no other owner.
    let thread = unsafe { OwnedFd::from_raw_fd(thread as RawFd) };
    // SAFETY: this request takes no argument, and returns a new descriptor.
    let namespace = Errno::result(unsafe { libc::ioctl(thread.as_raw_fd(), PIDFD_GET_IPC_NAMESPACE as _, 0) })?;
    // SAFETY: the call returned a new descriptor, which has no other owner.
    let namespace = unsafe { OwnedFd::from_raw_fd(namespace) };
    let stat = fstat(&namespace)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// An initialized `sem_t` that does not move.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct PosixSemaphore(UnsafeCell<libc::sem_t>);

// Every process that has a store open may write to its `sem_t`, by mistake or on purpose. Calls on it are sound for these
// reasons:
//
// - A `sem_t` of glibc or musl contains a number of units, a number of waiters, and a constant that says whether processes share
//   it. It contains no pointer and no index. The functions access only these fields, and make futex calls with the address of the
//   first. So they accept any bytes. Rust code accesses the bytes only through `UnsafeCell` and atomic types, so it accepts any
//   bytes, too.
// - Wrong numbers cause wrong results: a unit too many or too few, EOVERFLOW, or a waiter that is not woken. The lock tolerates
//   them, because the owner word decides and sleeps are bounded.
// - glibc uses the constant as a part of the futex operation, and aborts the process if the kernel does not know the operation.
//   So `PosixSemaphore::of` compares the constant before each use, which detects damage. A process can still change the constant
//   between the comparison and the call. Then glibc aborts this process or executes another futex operation. Such a process can
//   also write itself into the owner word. So processes that share a store trust each other. The mode of the store says which
//   processes these are.

// SAFETY: POSIX allows concurrent calls on an initialized `sem_t` from all threads.
unsafe impl Sync for PosixSemaphore {}
// SAFETY: a `sem_t` belongs to no thread. It does not move, because it is in a box or in a mapping.
unsafe impl Send for PosixSemaphore {}
// The functions of a `sem_t` do not unwind, and a panic elsewhere does not change it.
impl RefUnwindSafe for PosixSemaphore {}

/// The ABI that programs must have in common to share a `sem_t`.
///
/// It consists of the C library, the width of a pointer, and the size of a `sem_t`.
pub(crate) const ABI: u64 = {
    assert!(
        size_of::<libc::sem_t>() <= size_of::<LockLine>() - offset_of!(LockLine, next),
        "a sem_t fits into the line, beginning at `next`"
    );
    assert!(offset_of!(LockLine, next) % align_of::<libc::sem_t>() == 0 && align_of::<LockLine>() >= align_of::<libc::sem_t>());
    assert!(offset_of!(LockLine, spare) == offset_of!(LockLine, next) + 8, "the second word of the sem_t is `spare[0]`");
    let libc = if cfg!(target_env = "gnu") { GLIBC } else { MUSL };
    (libc << 32) | ((usize::BITS as u64) << 16) | size_of::<libc::sem_t>() as u64
};

const GLIBC: u64 = 1;
const MUSL: u64 = 2;

/// Describes an [`ABI`]: the C library and the sizes.
pub(crate) fn describe(abi: u64) -> String {
    let library = match abi >> 32 {
        GLIBC => "glibc",
        MUSL => "musl",
        _ => "another C library",
    };
    format!("{library}, {} bits, sem_t of {} bytes", (abi >> 16) & 0xffff, abi & 0xffff)
}

/// The value of `word` in a line whose semaphore is initialized.
const READY: u32 = 1;

/// Returns the second word of a `sem_t` that processes share.
///
/// The constant follows the numbers of units and waiters.
#[inline]
fn constant() -> u64 {
    static KNOWN: AtomicU64 = AtomicU64::new(NOT_KNOWN);
    // Neither libc sets all bits.
    const NOT_KNOWN: u64 = u64::MAX;
    match KNOWN.load(Relaxed) {
        NOT_KNOWN => {
            let example = [const { AtomicU64::new(0) }; size_of::<libc::sem_t>() / 8];
            // SAFETY: the array has the size and the alignment of a `sem_t`, and no other thread has a reference to it.
            let done = unsafe { libc::sem_init(ptr::from_ref(&example).cast_mut().cast(), 1, 0) };
            assert_eq!(done, 0, "sem_init failed with a value below SEM_VALUE_MAX: {}", Errno::last());
            let constant = example[1].load(Relaxed);
            KNOWN.store(constant, Relaxed);
            constant
        }
        known => known,
    }
}

impl PosixSemaphore {
    /// Creates a semaphore for the threads of this process.
    pub(crate) fn private(value: c_uint) -> Box<Self> {
        let semaphore = Box::new(Self(UnsafeCell::new(
            // SAFETY: a `sem_t` is valid for any bytes. `sem_init` initializes it below.
            unsafe { MaybeUninit::zeroed().assume_init() },
        )));
        // SAFETY: the `sem_t` is in a box, so it does not move, and no other thread has a reference to it yet.
        let done = unsafe { libc::sem_init(semaphore.0.get(), 0, value) };
        assert_eq!(done, 0, "sem_init failed with a value below SEM_VALUE_MAX: {}", Errno::last());
        semaphore
    }

    /// Returns the semaphore of a line, or `None` before its first owner has initialized it.
    ///
    /// # Errors
    /// EINVAL when the line is damaged.
    #[inline]
    pub(crate) fn of(line: &LockLine) -> Result<Option<&Self>, Errno> {
        if line.word.load(Acquire) != READY {
            return Ok(None);
        }
        if line.spare[0].load(Relaxed) != constant() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the semaphore is within the line and aligned (both asserted in `ABI`), and lives as long as the line. Other
        // processes may write to it; the comment above the `impl Sync` states why that is sound.
        Ok(Some(unsafe { &*Self::address(line).cast::<Self>() }))
    }

    /// Initializes the semaphore of a line with the value 0, unless it is initialized.
    ///
    /// Only the owner of the lock may call this.
    pub(crate) fn init_of(line: &LockLine) {
        if line.word.load(Acquire) != READY {
            line.spare.iter().for_each(|word| word.store(0, Relaxed));
            // SAFETY: the address is valid for a `sem_t`, as in `of`. The call stores to it without atomic operations. No other
            // thread accesses it at the same time: threads use the semaphore only after the line is READY, and the lock has one
            // owner at a time. An earlier owner that did not finish this call is dead. If the line is damaged, another thread may
            // be in a call on these bytes. Both accesses are made by the C library, and the other call reads a mixture of old and
            // new fields, as after any other damage.
            let done = unsafe { libc::sem_init(Self::address(line), 1, 0) };
            assert_eq!(done, 0, "sem_init failed with a value below SEM_VALUE_MAX: {}", Errno::last());
            line.word.store(READY, Release);
        }
    }

    fn address(line: &LockLine) -> *mut libc::sem_t {
        // All fields of a line are atomic, so its bytes may change behind a shared reference.
        ptr::from_ref(line).cast_mut().wrapping_byte_add(offset_of!(LockLine, next)).cast()
    }

    /// Takes a unit if there is one. Returns whether it did.
    #[inline]
    pub(crate) fn try_take(&self) -> Result<bool, Errno> {
        // SAFETY: `self` is an initialized semaphore. The comment above the `impl Sync` states why writes of other processes are
        // sound.
        match Errno::result(unsafe { libc::sem_trywait(self.0.get()) }) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Takes a unit, waiting for at most `duration` on the monotonic clock. `None` is no limit.
    ///
    /// Returns whether it took a unit. A signal can end the wait early, so the caller checks the clock.
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

    /// Gives a unit, and wakes one waiter.
    #[inline]
    pub(crate) fn give(&self) -> Result<(), Errno> {
        // SAFETY: as in `try_take`.
        Errno::result(unsafe { libc::sem_post(self.0.get()) }).map(drop)
    }
}

/// The name of the C function that [`PosixSemaphore::take_within`] calls.
pub(crate) const TIMED_WAIT: &str = if cfg!(target_env = "musl") { "sem_timedwait" } else { "sem_clockwait" };

/// Takes a unit, waiting for at most `duration` on the monotonic clock.
///
/// # Safety
/// `sem` is an initialized semaphore.
#[cfg(not(target_env = "musl"))]
unsafe fn timed_wait(sem: *mut libc::sem_t, duration: Duration) -> c_int {
    unsafe extern "C" {
        /// Available since glibc 2.30. The crate `libc` does not declare it.
        fn sem_clockwait(sem: *mut libc::sem_t, clock: libc::clockid_t, deadline: *const libc::timespec) -> c_int;
    }
    let deadline = timespec(now(libc::CLOCK_MONOTONIC).saturating_add(duration));
    // SAFETY: the caller guarantees an initialized semaphore. The call reads the deadline.
    unsafe { sem_clockwait(sem, libc::CLOCK_MONOTONIC, &raw const deadline) }
}

/// Takes a unit, waiting for at most `duration` or 100 ms.
///
/// musl has no `sem_clockwait`, and the deadline of its `sem_timedwait` is on the realtime clock. Before musl sleeps, it
/// subtracts the clock from the deadline, and the kernel measures the difference on the monotonic clock. So setting the clock
/// during the sleep has no effect. Setting it forward before the sleep ends the call early; the caller checks the monotonic clock
/// and calls again. Setting it back prolongs the sleep in two cases: between the two readings of the clock, and when a woken
/// thread finds the unit taken and sleeps again. Then the sleep ends with the next unit. The limit of 100 ms keeps the time short
/// in which this can occur.
///
/// # Safety
/// `sem` is an initialized semaphore.
#[cfg(target_env = "musl")]
unsafe fn timed_wait(sem: *mut libc::sem_t, duration: Duration) -> c_int {
    const SLICE: Duration = Duration::from_millis(100);
    let deadline = timespec(now(libc::CLOCK_REALTIME).saturating_add(duration.min(SLICE)));
    // SAFETY: the caller guarantees an initialized semaphore. The call reads the deadline.
    unsafe { libc::sem_timedwait(sem, &raw const deadline) }
}

fn timespec(duration: Duration) -> libc::timespec {
    // `libc::time_t` is deprecated on musl, because the crate `libc` will change its width there. So the type is inferred.
    let tv_sec = duration.as_secs().try_into().unwrap_or(i32::MAX.into());
    libc::timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}

fn now(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a `timespec`, and `now` is valid for that.
    let done = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(done, 0, "clock_gettime failed for a clock that Linux always has: {}", Errno::last());
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

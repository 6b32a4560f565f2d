//! Safe wrappers for the unsafe code of the wrong backends.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use nix::libc;

/// Creates a System V semaphore set with one semaphore of value 1, and returns its id.
pub(super) fn make_semaphore() -> io::Result<i32> {
    // SAFETY: the call takes numbers only.
    let id = checked(unsafe { libc::semget(libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600) })?;
    change_semaphore(id, 1)?;
    Ok(id)
}

/// Adds a number to the value of the set's first semaphore. Fails instead of waiting.
pub(super) fn change_semaphore(id: i32, change: i16) -> io::Result<()> {
    let mut step = libc::sembuf { sem_num: 0, sem_op: change, sem_flg: libc::IPC_NOWAIT as i16 };
    // SAFETY: the kernel reads one operation, and the pointer refers to one.
    checked(unsafe { libc::semop(id, &raw mut step, 1) }).map(drop)
}

pub(super) fn remove_semaphore(id: i32) -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    checked(unsafe { libc::semctl(id, 0, libc::IPC_RMID) }).map(drop)
}

/// The head of a robust list, in the kernel's layout.
#[repr(C)]
struct Head {
    first: AtomicPtr<Head>,
    offset: isize,
    pending: AtomicPtr<Head>,
}

/// Registers an empty robust list for this thread.
pub(super) fn replace_robust_list() -> io::Result<()> {
    static EMPTY: Head = Head { first: AtomicPtr::new(ptr::null_mut()), offset: 0, pending: AtomicPtr::new(ptr::null_mut()) };
    EMPTY.first.store((&raw const EMPTY).cast_mut(), Ordering::Relaxed);
    // SAFETY: the kernel reads the head when the thread ends, and the head is a static. The list is empty, because its first node is its
    // head, so that the kernel writes nothing.
    match unsafe { libc::syscall(libc::SYS_set_robust_list, &raw const EMPTY, size_of::<Head>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Borrows the descriptor with this number for system calls. The descriptor may be closed.
pub(super) fn by_number(number: RawFd) -> BorrowedFd<'static> {
    assert!(number >= 0, "the descriptor {number} is negative");
    // SAFETY: the number is not -1, and it is used in system calls only, which fail with EBADF if the number is closed.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Registers handlers that run at each later `fork` of the process.
pub(super) fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
    // SAFETY: the functions are part of this program and are never unloaded.
    let failed = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    assert_eq!(failed, 0, "pthread_atfork failed");
}

/// Checks whether libc has registered a robust list for the calling thread.
///
/// libc does so at the start of a thread and in `_Fork`.
pub(super) fn has_robust_list() -> bool {
    let (mut head, mut length) = (MaybeUninit::<*const u8>::uninit(), MaybeUninit::<usize>::uninit());
    // SAFETY: the kernel writes a pointer and a length to two variables of these sizes, or fails.
    let failed = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, head.as_mut_ptr(), length.as_mut_ptr()) };
    // SAFETY: the call succeeded, so that the pointer is initialized.
    failed == 0 && !unsafe { head.assume_init() }.is_null()
}

fn checked(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

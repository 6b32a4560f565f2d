//! Acquisition and release of a robust mutex by glibc's rules (`nptl/pthread_mutex_lock.c`, `pthread_mutex_unlock.c`).
//!
//! The mutex word is 0 if the mutex is free. Otherwise it has the owner's thread id, and `FUTEX_WAITERS` if threads may be asleep. The kernel
//! replaces the thread id of a dead owner by `FUTEX_OWNER_DIED`. A thread that has slept acquires the mutex with `FUTEX_WAITERS` set, because
//! other threads may still be asleep.
//!
//! # Differences from glibc
//! - Sleeps are bounded. glibc's protocol can lose a wake-up: an owner releases and wakes a thread, another thread acquires the mutex
//!   without `FUTEX_WAITERS`, and the woken thread is killed. The threads that still sleep are then never woken. A bounded sleep ends
//!   nevertheless, and sets the bit again, also for threads that sleep in libc.
//! - A release wakes a waiter also if the bit is not set, and so does an acquisition after a death.
//! - A word of `FUTEX_WAITERS` alone is a free mutex. For glibc it is a held one.
//! - The death of an owner that has not completed its acquisition, or has begun its release, is not reported.
//! - An acquisition after a death makes the mutex consistent immediately. A release can leave the word as `FUTEX_OWNER_DIED` instead of 0, so that
//!   the next owner gets the report again, which is EOWNERDEAD for libc. The mutex never becomes unusable (ENOTRECOVERABLE).
//! - The operation is not pending for the kernel while it could free the mutex of a thread with the same id in another PID namespace. An exception
//!   is a release in the first PID namespace, that of podman: as in glibc, it is pending until it has woken a waiter.
//! - A thread that executes another program while its process has several threads changes its id before the kernel walks its list, so that
//!   its mutexes stay locked. A waiter takes such a mutex over if this crate's [`Record`] names the owner and the owner's thread id does not
//!   exist in the same PID namespace.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use lock_core::{Deadline, Error, Result};
use lock_table::{futex, thread};

use crate::layout::{Mutex, NOT_RECOVERABLE};
use crate::record::Record;
use crate::sys::{self, ThisThread};

const WAITERS: u32 = libc::FUTEX_WAITERS;
const DIED: u32 = libc::FUTEX_OWNER_DIED;
const TID: u32 = libc::FUTEX_TID_MASK;

/// The longest sleep. It bounds the delay after a lost wake-up.
const SLEEP: Duration = Duration::from_millis(200);

/// The result of [`acquire`].
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The caller owns the mutex.
    Acquired,
    /// The caller owns the mutex, and the owner with this record died.
    Recovered(Record),
    /// The deadline passed.
    TimedOut,
}

/// The state in which [`release`] leaves the mutex.
#[derive(Debug)]
pub(crate) enum Leave {
    /// Free.
    Free,
    /// Free, with a report of the death of this owner.
    Died(Record),
}

/// Returns the owner's thread id in a mutex word, or 0 if the mutex is free or its owner died.
pub(crate) const fn owner(word: u32) -> u32 {
    word & TID
}

/// Returns whether the mutex word announces waiters.
pub(crate) const fn has_waiters(word: u32) -> bool {
    word & WAITERS != 0
}

/// Returns whether the mutex word says that the owner died, and that no thread has acquired the mutex since.
pub(crate) const fn has_died(word: u32) -> bool {
    word & DIED != 0
}

/// Acquires the mutex, and waits until the deadline.
///
/// `is_mine` returns whether the calling thread already holds it.
///
/// # Errors
/// [`ErrorKind::AlreadyHeld`](lock_core::ErrorKind::AlreadyHeld); [`ErrorKind::Corrupt`](lock_core::ErrorKind::Corrupt) when a program has
/// made the mutex unusable.
#[inline]
pub(crate) fn acquire(mutex: &Mutex, me: &ThisThread, deadline: Deadline, is_mine: impl Fn() -> bool) -> Result<Outcome> {
    let outcome = match exchange(mutex, me, 0, 0) {
        Ok(()) => own(mutex, me),
        Err(word) => acquire_slowly(mutex, me, word, deadline, is_mine),
    };
    me.list().clear_pending();
    outcome
}

/// Stores the caller's id and the bits `waiters` in the mutex word if the word is `free`. Otherwise returns the word.
///
/// The operation is pending for the kernel afterwards, unless the word names the caller's id before. Then the owner is a thread of another
/// PID namespace with the same id, and the kernel would free the mutex if the caller died.
#[inline]
fn exchange(mutex: &Mutex, me: &ThisThread, free: u32, waiters: u32) -> Result<(), u32> {
    let word = mutex.word.load(Relaxed);
    if word != free {
        return Err(word);
    }
    me.list().set_pending(mutex);
    let exchanged = mutex.word.compare_exchange(free, me.id | free & WAITERS | waiters, Acquire, Relaxed);
    exchanged.map(drop).inspect_err(|_| me.list().clear_pending())
}

#[cold]
fn acquire_slowly(
    mutex: &Mutex,
    me: &ThisThread,
    mut word: u32,
    deadline: Deadline,
    is_mine: impl Fn() -> bool,
) -> Result<Outcome> {
    let mut waiters = 0;
    // The owner is checked after each sleep without a change, and by an attempt that does not sleep.
    let mut is_suspect = deadline == Deadline::Now;
    loop {
        let died = has_died(word);
        if died || owner(word) == 0 || is_suspect && is_orphaned(mutex, me, word) {
            let is_free = !died && owner(word) == 0;
            match exchange(mutex, me, word, waiters) {
                Ok(()) if is_free => return own(mutex, me),
                Ok(()) => return Ok(recover(mutex, me)),
                Err(now) => word = now,
            }
            continue;
        }
        if waiters == 0 && is_mine() {
            return Err(Error::already_held());
        }
        let remaining = deadline.remaining().unwrap_or(SLEEP);
        if remaining.is_zero() {
            if waiters != 0 {
                pass_on(mutex);
            }
            return Ok(Outcome::TimedOut);
        }
        let asleep = word | WAITERS;
        if word != asleep
            && let Err(now) = mutex.word.compare_exchange(word, asleep, Relaxed, Relaxed)
        {
            word = now;
            continue;
        }
        // If the caller is killed after it was woken, the kernel wakes another waiter, unless the mutex is held again.
        if owner(word) == me.id {
            me.list().clear_pending();
        } else {
            me.list().set_pending(mutex);
        }
        futex::wait(&mutex.word, asleep, futex::ANY, remaining.min(SLEEP));
        waiters = WAITERS;
        word = mutex.word.load(Relaxed);
        is_suspect = word == asleep;
        if owner(word) == me.id {
            me.list().clear_pending();
        }
    }
}

/// Makes the caller, whose id is in the mutex word, the owner.
#[inline]
fn own(mutex: &Mutex, me: &ThisThread) -> Result<Outcome> {
    if mutex.owner.load(Relaxed) == NOT_RECOVERABLE {
        return Err(give_back(mutex));
    }
    Record::of(me).write(mutex);
    sys::link(me.list(), mutex);
    mutex.users.store(mutex.users.load(Relaxed).wrapping_add(1), Relaxed);
    Ok(Outcome::Acquired)
}

/// Releases a mutex that no thread may own.
#[cold]
fn give_back(mutex: &Mutex) -> Error {
    mutex.word.swap(0, Release);
    futex::wake_one(&mutex.word);
    Error::corrupt(
        "a program gave the lock up after the death of an owner (ENOTRECOVERABLE), so that no program can acquire it again",
    )
    .advise("podman does not do so; stop the programs that use the segment, remove its file, and run `podman system renumber`")
}

/// Makes the caller, whose id is in the mutex word, the owner after the death of another one.
#[cold]
fn recover(mutex: &Mutex, me: &ThisThread) -> Outcome {
    let died = Record::read(mutex);
    if died.is_none() {
        Record::of(me).write(mutex);
    } else {
        Record::of(me).replace(mutex);
    }
    sys::link(me.list(), mutex);
    // As in glibc, the number of users does not change: the dead owner was one.
    // The owner or a woken waiter may have been killed before it woke a waiter.
    futex::wake_one(&mutex.word);
    if died.is_none() { Outcome::Acquired } else { Outcome::Recovered(died) }
}

/// Returns whether the owner is a thread of this PID namespace that has ended or has executed another program, and whose mutex the kernel
/// has not freed.
fn is_orphaned(mutex: &Mutex, me: &ThisThread, word: u32) -> bool {
    let record = Record::read(mutex);
    // The record is that of the present owner: an owner that has just acquired the mutex has not written one yet, and a release clears it.
    let is_of_namespace = record.namespace().is_some_and(|namespace| namespace == me.namespace);
    record.owner == owner(word)
        && is_of_namespace
        && record.pid().is_some_and(|pid| !thread::exists(pid, record.owner))
        && (mutex.word.load(Relaxed), Record::read(mutex)) == (word, record)
}

/// Sets `FUTEX_WAITERS` in the word of a held mutex, for the threads that may still be asleep.
///
/// The caller may have been woken by the last release, and gives up its wait.
fn pass_on(mutex: &Mutex) {
    let mut word = mutex.word.load(Relaxed);
    while owner(word) != 0 && !has_waiters(word) {
        match mutex.word.compare_exchange(word, word | WAITERS, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(now) => word = now,
        }
    }
}

/// Releases a mutex that the calling thread has acquired, and wakes a waiter.
///
/// Returns false if the mutex word no longer names the thread. The word is then unchanged.
#[inline]
pub(crate) fn release(mutex: &Mutex, me: &ThisThread, leave: Leave) -> bool {
    let is_owner = is_owned_by(mutex, me);
    me.list().set_pending(mutex);
    sys::unlink(me.list(), mutex);
    if is_owner {
        let word = match leave {
            Leave::Free => {
                Record::clear(mutex);
                mutex.users.store(mutex.users.load(Relaxed).wrapping_sub(1), Relaxed);
                0
            }
            Leave::Died(died) => {
                died.replace(mutex);
                DIED
            }
        };
        mutex.word.swap(word, Release);
    }
    // While the operation is pending, the kernel wakes a waiter if this thread is killed before it does. But if the mutex has a new owner by
    // then with the id of this thread, in another PID namespace, the kernel frees the mutex of that owner.
    if !me.is_in_first_namespace() {
        me.list().clear_pending();
    }
    if is_owner {
        futex::wake_one(&mutex.word);
    }
    me.list().clear_pending();
    is_owner
}

/// Returns whether the mutex word names the calling thread, or a thread with the same id in another PID namespace.
#[inline]
pub(crate) fn is_owned_by(mutex: &Mutex, me: &ThisThread) -> bool {
    owner(mutex.word.load(Relaxed)) == me.id
}

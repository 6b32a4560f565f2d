//! The record of a mutex's owner, in fields that glibc does not use.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::compiler_fence;

use lock_core::{Cause, Death, Holder};

use crate::layout::{INCONSISTENT, Mutex, NOT_RECOVERABLE};
use crate::sys::ThisThread;

/// The owner of a mutex, as the fields `__owner`, `__count` and `__spins` name it.
///
/// glibc stores the thread id in `__owner`, clears it at the release, and leaves it when the owner dies. In a robust mutex glibc stores 1 in
/// `__count` after each acquisition and reads it only if the mutex is recursive (`nptl/pthread_mutex_lock.c`). This crate stores the process
/// id there, with a mark, so that the report of a death names the process. glibc accesses `__spins` and `__elision` only in mutexes that
/// are not robust. This crate stores the PID namespace there. The values of an owner of this crate are valid only with its mark, because a
/// later owner of libc does not clear them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Record {
    /// The thread id, or 0.
    pub(crate) owner: u32,
    count: u32,
    /// The inode of the PID namespace, or 0.
    namespace: u32,
}

/// The bit of `__count` that marks an owner of this crate.
const MARK: u32 = 1 << 31;
/// The process id in `__count`. The kernel's ids are less than 2²².
const PID: u32 = (1 << 22) - 1;
/// The position of the [`Cause::number`] in `__count`.
const CAUSE_SHIFT: u32 = 24;

impl Record {
    /// Returns the calling thread as an owner.
    pub(crate) fn of(thread: &ThisThread) -> Self {
        Self { owner: thread.id, count: MARK | (thread.process & PID), namespace: thread.namespace }
    }

    /// Creates a record from the fields of a mutex.
    pub(crate) fn from_fields(owner: u32, count: u32, spare: u32) -> Self {
        let is_marked = count & MARK != 0;
        Self { owner, count, namespace: if is_marked { spare } else { 0 } }
    }

    /// Reads the record of a mutex.
    #[inline]
    pub(crate) fn read(mutex: &Mutex) -> Self {
        Self::from_fields(mutex.owner.load(Relaxed), mutex.count.load(Relaxed), mutex.spare.load(Relaxed))
    }

    /// Writes the record after the record of a dead owner. The caller owns the mutex.
    ///
    /// If the caller is killed between two stores, the next owner still gets a report, of the earlier or the new owner.
    pub(crate) fn replace(self, mutex: &Mutex) {
        mutex.owner.store(INCONSISTENT, Relaxed);
        compiler_fence(SeqCst);
        self.write(mutex);
    }

    /// Writes the record. The caller owns the mutex.
    ///
    /// If the caller is killed before the last store, [`Record::is_none`] holds.
    #[inline]
    pub(crate) fn write(self, mutex: &Mutex) {
        mutex.count.store(self.count, Relaxed);
        mutex.spare.store(self.namespace, Relaxed);
        compiler_fence(SeqCst);
        mutex.owner.store(self.owner, Relaxed);
    }

    /// Clears the record. The caller owns the mutex.
    #[inline]
    pub(crate) fn clear(mutex: &Mutex) {
        mutex.owner.store(0, Relaxed);
        compiler_fence(SeqCst);
        mutex.count.store(0, Relaxed);
    }

    /// Sets the cause of the owner's death.
    pub(crate) fn with_cause(mut self, cause: Cause) -> Self {
        self.count |= (cause.number() as u32) << CAUSE_SHIFT;
        self
    }

    /// Returns true if the owner has not completed its acquisition, or has begun its release.
    ///
    /// The protected data is then consistent, so that there is nothing to report if the owner died.
    pub(crate) fn is_none(self) -> bool {
        self.owner == 0
    }

    /// Returns the thread id, if it is known.
    pub(crate) fn tid(self) -> Option<u32> {
        Some(self.owner).filter(|owner| !matches!(*owner, 0 | INCONSISTENT | NOT_RECOVERABLE))
    }

    /// Returns the process id of an owner of this crate.
    pub(crate) fn pid(self) -> Option<u32> {
        (self.count & MARK != 0).then_some(self.count & PID)
    }

    /// Returns the PID namespace of an owner of this crate, if it is known.
    pub(crate) fn namespace(self) -> Option<u32> {
        Some(self.namespace).filter(|namespace| *namespace != 0)
    }

    /// Describes the owner, if it is known. The process id of an owner of libc is 0.
    pub(crate) fn holder(self) -> Option<Holder> {
        let (pid, tid) = (self.pid(), self.tid());
        pid.or(tid)?;
        let mut holder = Holder::of_process(pid.unwrap_or(0)).with_thread(tid.unwrap_or(0));
        holder.pid_namespace = self.namespace().map(u64::from);
        Some(holder)
    }

    /// Returns the report of the owner's death.
    pub(crate) fn death(self) -> Death {
        let cause =
            if self.pid().is_some() { Cause::from_number(u64::from(self.count >> CAUSE_SHIFT & 0xf)) } else { Cause::Unknown };
        Death::of(self.holder()).with_cause(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_libc_names_the_thread_and_a_marked_one_the_process() {
        let libc = Record::from_fields(7, 1, 5);
        assert_eq!((libc.tid(), libc.pid(), libc.namespace()), (Some(7), None, None));
        let ours = Record::from_fields(7, MARK | 1, 5);
        assert_eq!((ours.tid(), ours.pid(), ours.namespace()), (Some(7), Some(1), Some(5)));
        assert_eq!(ours.death().holder.map(|holder| (holder.pid, holder.tid, holder.pid_namespace)), Some((1, 7, Some(5))));
    }

    #[test]
    fn a_cause_is_kept_beside_the_process() {
        let record = Record::from_fields(7, MARK | PID, 0).with_cause(Cause::Panicked);
        assert_eq!((record.pid(), record.death().cause), (Some(PID), Cause::Panicked));
    }

    #[test]
    fn an_owner_that_libc_has_not_recorded_is_unknown() {
        for owner in [INCONSISTENT, NOT_RECOVERABLE] {
            assert_eq!(Record::from_fields(owner, 1, 0).death().holder, None);
        }
        assert!(Record::from_fields(0, 1, 0).is_none());
    }
}

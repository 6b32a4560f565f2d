//! What a fork changes: a child is another process, and owns nothing of its parent's.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, Weak};

use crate::Result;
use crate::sys::{self, SetOnce, Stash};
use crate::table::Table;

static EPOCH: AtomicU64 = AtomicU64::new(0);

/// One table at a time is opened or given a seat. It comes before `WATCHED`, and both are held during a fork, so that the child finds
/// everything whole.
static OPENING: Mutex<()> = Mutex::new(());
static WATCHED: Mutex<Watched> = Mutex::new(Watched { tables: Vec::new(), descriptors: Vec::new(), in_child: Vec::new() });
static HELD: Stash<(MutexGuard<'static, ()>, MutexGuard<'static, Watched>)> = Stash::empty();

/// The tables that this process has open, and the descriptors that are its alone.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) tables: Vec<Weak<Table>>,
    /// A bit for each.
    descriptors: Vec<u64>,
    in_child: Vec<fn()>,
}

/// A number that differs between a process and the child it forked: a backend that remembers something about its process (its
/// thread id, say) remembers this number with it. One relaxed load.
///
/// Forks are seen from the moment that the process has a [`Store`](crate::Store) or a [`Lock`](crate::Lock), and when they go through
/// libc's `fork`: a raw `clone` system call without `CLONE_VM` is not seen.
#[inline]
pub fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Has this called in every forked child, by its only thread, before anything else: for what a backend remembers of a thread and wants
/// to use without comparing the [`epoch`] each time. It may neither allocate memory nor take a lock. Once is enough for each function.
pub fn call_in_children(call: fn()) {
    let mut watched = watched();
    if !watched.in_child.iter().any(|known| std::ptr::fn_addr_eq(*known, call)) {
        watched.in_child.push(call);
    }
}

/// For who opens a table or gives it a seat.
pub(crate) fn opening() -> MutexGuard<'static, ()> {
    watch();
    OPENING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn watched() -> MutexGuard<'static, Watched> {
    watch();
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the first call on, a fork is noticed.
pub(crate) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| sys::at_fork(prepare, in_parent, in_child).expect("there is memory for three function pointers"));
}

/// A descriptor that forked children give up.
///
/// The kernel keeps a file lock while any process has the open file description. A child that is forked while its parent holds such a
/// lock has it too, and would hold it beyond the parent's death. A child closes its copies of these before it does anything else; what
/// is left there of the value knows that it has no descriptor any more.
#[derive(Debug)]
pub struct Descriptor {
    /// In a forked child, a number that means nothing any more, or something else.
    fd: ManuallyDrop<OwnedFd>,
    epoch: u64,
}

impl Descriptor {
    /// Takes charge of a descriptor.
    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        let fd = fd.into();
        let mut watched = watched();
        let at = fd.as_raw_fd() as usize;
        if watched.descriptors.len() <= at / 64 {
            watched.descriptors.resize(at / 64 + 1, 0);
        }
        watched.descriptors[at / 64] |= 1 << (at % 64);
        Self { fd: ManuallyDrop::new(fd), epoch: epoch() }
    }

    /// The descriptor; `None` in a child that was forked since.
    pub fn get(&self) -> Option<BorrowedFd<'_>> {
        (self.epoch == epoch()).then(|| self.fd.as_fd())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let mut watched = watched();
        if self.epoch == epoch() {
            let at = self.fd.as_raw_fd() as usize;
            watched.descriptors[at / 64] &= !(1 << (at % 64));
            let _ = nix::unistd::close(self.fd.as_raw_fd());
        }
    }
}

/// A value that each process makes for itself, when it first needs it: a forked child does not see its parent's.
///
/// No thread ever waits for another in it, so that a fork cannot find it half made: of two threads that make a value at the same
/// time, one's is kept and the other's dropped. So what a fork may leave locked for ever, as a `Mutex`, is safe inside.
#[derive(Debug)]
pub struct PerProcess<T> {
    first: SetOnce<Own<T>>,
}

/// The value of one process, and that of the child which it was forked into.
#[derive(Debug)]
struct Own<T> {
    value: T,
    epoch: u64,
    next: SetOnce<Self>,
}

impl<T> PerProcess<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { first: SetOnce::new() }
    }

    /// This process's value, if it has made one.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        let epoch = epoch();
        let mut own = self.first.get()?;
        while own.epoch != epoch {
            own = own.next.get()?;
        }
        Some(&own.value)
    }

    /// This process's value, if it has made one.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        let epoch = epoch();
        let mut own = self.first.get_mut()?;
        while own.epoch != epoch {
            own = own.next.get_mut()?;
        }
        Some(&mut own.value)
    }
}

impl<T: Send> PerProcess<T> {
    /// This process's value, made now if it has none.
    ///
    /// # Errors
    /// That of `make`; then there is none still.
    #[inline]
    pub fn get_or_try_init(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.init(make),
        }
    }

    #[cold]
    fn init(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        watch();
        let (value, epoch) = (make()?, epoch());
        let mut cell = &self.first;
        while let Some(own) = cell.get() {
            if own.epoch == epoch {
                return Ok(&own.value);
            }
            cell = &own.next;
        }
        Ok(&cell.set(Own { value, epoch, next: SetOnce::new() }).value)
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

extern "C" fn prepare() {
    let opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    HELD.put((opening, WATCHED.lock().unwrap_or_else(PoisonError::into_inner)));
}

extern "C" fn in_parent() {
    drop(HELD.take());
}

/// Runs in the forked child before anything else: the only thread there, and where it should not allocate memory.
extern "C" fn in_child() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
    let Some((_opening, mut watched)) = HELD.take() else { return };
    for (at, word) in watched.descriptors.iter_mut().enumerate() {
        let mut bits = std::mem::take(word);
        while bits != 0 {
            let _ = nix::unistd::close((at * 64) as RawFd + bits.trailing_zeros() as RawFd);
            bits &= bits - 1;
        }
    }
    watched.tables.iter().filter_map(Weak::upgrade).for_each(|table| table.disown());
    watched.in_child.iter().for_each(|call| call());
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn racing_threads_end_up_with_one_value() {
        for _ in 0..200 {
            let value = PerProcess::new();
            let seen: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|n| {
                        scope.spawn({
                            let value = &value;
                            move || *value.get_or_try_init(|| Ok(n)).unwrap()
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(seen.iter().all(|n| Some(n) == value.get()), "{seen:?}");
        }
    }

    #[test]
    fn a_failed_attempt_leaves_nothing() {
        let value = PerProcess::<u32>::new();
        value.get_or_try_init(|| Err(crate::ErrorKind::Absent.into())).unwrap_err();
        assert_eq!(value.get(), None);
        assert_eq!(value.get_or_try_init(|| Ok(7)).unwrap(), &7);
    }
}

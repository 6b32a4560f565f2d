//! Forks: a child is another process, and owns none of its parent's locks.
//!
//! The epoch is in a page that the kernel zeroes in every forked child (`MADV_WIPEONFORK`), so that a child differs from its parent
//! before any code runs in it, through `fork`, `_Fork` or a raw `clone`. Handlers of `pthread_atfork` only count forks and close
//! inherited descriptors; no lock is held over a fork.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, fence};
use std::thread;
use std::time::Duration;

use once_cell::race::OnceBox;

use crate::{Result, sys};

/// The latest epoch of this process and its ancestors.
static LATEST: AtomicU64 = AtomicU64::new(0);
/// Forks that have begun and ended, as the handlers see them.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Forks that this thread has begun and not ended.
    static OWN: Cell<u64> = const { Cell::new(0) };
    /// How many forks had begun before this thread's last.
    static EARLIER: Cell<u64> = const { Cell::new(0) };
}

/// How often [`undisturbed`] tries, and how long it waits in between.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// A number that differs between a process and every child that it forks, or 0 in a process that has not used this crate yet. A
/// backend that remembers something about its process stores this number with it. One relaxed load.
#[inline]
pub fn epoch() -> u64 {
    sys::epoch().load(Relaxed)
}

/// The epoch, never 0: a process that has none yet gets one.
#[inline]
pub fn current() -> u64 {
    match epoch() {
        0 => begin(),
        epoch => epoch,
    }
}

#[cold]
fn begin() -> u64 {
    watch();
    // All numbers of ancestors are below it, and so is no number that a value inherited from one of them carries.
    let next = LATEST.fetch_add(1, SeqCst) + 1;
    match sys::epoch().compare_exchange(0, next, SeqCst, SeqCst) {
        Ok(_) => {
            ENDED.store(BEGUN.load(SeqCst), SeqCst);
            call_hooks(next, EARLIER.get());
            next
        }
        Err(other) => other,
    }
}

/// A function that every forked child calls when it gets its epoch.
struct Hook {
    call: fn(u64, u64),
    next: OnceBox<Self>,
}

static HOOKS: OnceBox<Hook> = OnceBox::new();

/// Registers a function that every forked child calls when it gets its epoch, with the epoch and the number of earlier forks of its
/// parent.
///
/// Registering a function again changes nothing.
pub fn on_child(call: fn(u64, u64)) {
    let mut hook = &HOOKS;
    loop {
        let Hook { call: known, next } = hook.get_or_init(|| Box::new(Hook { call, next: OnceBox::new() }));
        if std::ptr::fn_addr_eq(*known, call) {
            return;
        }
        hook = next;
    }
}

fn call_hooks(epoch: u64, earlier: u64) {
    let mut hook = HOOKS.get();
    while let Some(Hook { call, next }) = hook {
        call(epoch, earlier);
        hook = next.get();
    }
}

/// Registers the handlers. Two threads may both do it: the handlers bear that.
fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.load(SeqCst) {
        WIPED.store(sys::wipe_on_fork(), SeqCst);
        sys::at_fork(prepare, in_parent, in_child).expect("there is memory for three function pointers");
        WATCHED.store(true, SeqCst);
    }
}

/// Whether the kernel zeroes the page.
static WIPED: AtomicBool = AtomicBool::new(false);

extern "C" fn prepare() {
    OWN.set(OWN.get() + 1);
    EARLIER.set(BEGUN.fetch_add(1, SeqCst));
}

extern "C" fn in_parent() {
    OWN.set(OWN.get().saturating_sub(1));
    ENDED.fetch_add(1, SeqCst);
}

extern "C" fn in_child() {
    OWN.set(0);
    if !WIPED.load(SeqCst) {
        sys::wipe();
    }
    // A handler of the program's may have been first, and used a lock.
    current();
}

/// Opens something that forked children must not keep, and registers it: two steps, which a fork in another thread may come
/// between. Then what was opened is dropped, and opened again.
///
/// It does not wait for a fork to end without a bound, because the forking thread may wait for this one in a handler of the program's.
///
/// # Errors
/// Those of `open`.
pub fn undisturbed<T>(mut open: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..ATTEMPTS {
        let begun = begun_by_others();
        let quiet = ENDED.load(SeqCst) == begun;
        let value = open()?;
        fence(SeqCst);
        if quiet && begun_by_others() == begun {
            return Ok(value);
        }
        drop(value);
        thread::sleep(PAUSE);
    }
    open()
}

/// While other threads fork, how many forks have begun: their children may still copy what there is now.
pub fn begun_while_forking() -> Option<u64> {
    fence(SeqCst);
    let begun = BEGUN.load(SeqCst);
    (ENDED.load(SeqCst) != begun.wrapping_sub(OWN.get())).then_some(begun)
}

fn begun_by_others() -> u64 {
    BEGUN.load(SeqCst).wrapping_sub(OWN.get())
}

/// A value that each process makes for itself, when it first needs it: a forked child does not see its parent's.
///
/// No thread ever waits for another in it, so that a fork cannot find it half made: of two threads that make a value at the same
/// time, one's is kept and the other's dropped. So what a fork may leave locked, as a `Mutex`, is safe inside.
#[derive(Debug)]
pub struct PerProcess<T> {
    first: OnceBox<Own<T>>,
}

/// The value of one process, and that of the child which it was forked into.
#[derive(Debug)]
struct Own<T> {
    value: T,
    epoch: u64,
    next: OnceBox<Self>,
}

impl<T> PerProcess<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { first: OnceBox::new() }
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
}

impl<T: Send> PerProcess<T> {
    /// This process's value, made now if it has none.
    ///
    /// # Errors
    /// Those of `make`; then there is none still.
    #[inline]
    pub fn get_or_try_init(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.init(make),
        }
    }

    #[cold]
    fn init(&self, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        let epoch = current();
        let mut made = Some(Box::new(Own { value: make()?, epoch, next: OnceBox::new() }));
        let mut cell = &self.first;
        loop {
            match cell.get() {
                Some(own) if own.epoch == epoch => return Ok(&own.value),
                Some(own) => cell = &own.next,
                // Another thread may set the cell first.
                None => made = made.and_then(|made| cell.set(made).err()),
            }
        }
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
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

    #[test]
    fn what_is_opened_without_a_fork_is_opened_once() {
        current();
        let mut opened = 0;
        undisturbed(|| {
            opened += 1;
            Ok(())
        })
        .unwrap();
        assert!(opened >= 1);
    }
}

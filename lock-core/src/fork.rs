//! Fork handling. A child process owns none of its parent's locks.
//!
//! Each process has an epoch, a number that its children do not inherit. The epoch is in a page that the kernel zeroes in every forked
//! child (`MADV_WIPEONFORK`, madvise(2)). A child therefore differs from its parent before any code runs in it, whether `fork`, `_Fork`
//! or a raw `clone` created it. The handlers of `pthread_atfork` only count forks and close inherited descriptors. No lock is held
//! across a fork.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, fence};
use std::thread;
use std::time::Duration;

use once_cell::race::OnceBox;

use crate::{Result, sys};

/// The highest epoch of this process and its ancestors.
static LATEST: AtomicU64 = AtomicU64::new(0);
/// The number of forks that have begun in this process, and of those that have ended, as the handlers count them.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Forks that this thread has begun and not ended. More than one when a handler forks.
    static FORKS_OF_THREAD: Cell<u64> = const { Cell::new(0) };
    /// The value of [`BEGUN`] before the latest fork of this thread.
    static EARLIER_FORKS: Cell<u64> = const { Cell::new(0) };
}

/// The number of attempts of [`retry_across_forks`], and the pause between two of them.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Returns the epoch of this process, or 0 in a process that has not used this crate yet.
///
/// One relaxed load.
///
/// The epoch differs between a process and every child that it forks. A backend that caches a fact about its process stores the epoch
/// with it.
#[inline]
pub fn epoch() -> u64 {
    sys::epoch().load(Relaxed)
}

/// Returns the epoch of this process, which is assigned now if it was 0.
#[inline]
pub fn current() -> u64 {
    match epoch() {
        0 => start_epoch(),
        epoch => epoch,
    }
}

#[cold]
fn start_epoch() -> u64 {
    install_handlers();
    // Higher than the epoch of every ancestor, so that no value that is inherited from one has this epoch.
    let next = LATEST.fetch_add(1, SeqCst) + 1;
    match sys::epoch().compare_exchange(0, next, SeqCst, SeqCst) {
        Ok(_) => {
            ENDED.store(BEGUN.load(SeqCst), SeqCst);
            call_hooks(next, EARLIER_FORKS.get());
            next
        }
        Err(other) => other,
    }
}

/// A function of [`on_child`].
struct Hook {
    call: fn(u64, u64),
    next: OnceBox<Self>,
}

static HOOKS: OnceBox<Hook> = OnceBox::new();

/// Registers a function that every forked child calls when its epoch starts.
///
/// The arguments are the epoch, and the number of forks that the parent had begun before this one. Registering a function again has no
/// effect.
pub fn on_child(call: fn(u64, u64)) {
    let mut hook = &HOOKS;
    loop {
        let Hook { call: registered, next } = hook.get_or_init(|| Box::new(Hook { call, next: OnceBox::new() }));
        if std::ptr::fn_addr_eq(*registered, call) {
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

/// Registers the handlers of `pthread_atfork`.
///
/// When two threads register them at the same time, each fork is counted twice, which the handlers allow.
fn install_handlers() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.load(SeqCst) {
        KERNEL_WIPES.store(sys::wipe_on_fork(), SeqCst);
        sys::at_fork(prepare, in_parent, in_child).expect("pthread_atfork fails only without memory for three pointers");
        INSTALLED.store(true, SeqCst);
    }
}

/// True if the kernel supports `MADV_WIPEONFORK`.
static KERNEL_WIPES: AtomicBool = AtomicBool::new(false);

extern "C" fn prepare() {
    FORKS_OF_THREAD.set(FORKS_OF_THREAD.get() + 1);
    EARLIER_FORKS.set(BEGUN.fetch_add(1, SeqCst));
}

extern "C" fn in_parent() {
    FORKS_OF_THREAD.set(FORKS_OF_THREAD.get().saturating_sub(1));
    ENDED.fetch_add(1, SeqCst);
}

extern "C" fn in_child() {
    FORKS_OF_THREAD.set(0);
    if !KERNEL_WIPES.load(SeqCst) {
        sys::wipe();
    }
    // The epoch may have started already: a handler of the program runs earlier and may use a lock.
    current();
}

/// Calls `open` while no other thread forks, as far as possible.
///
/// `open` opens a descriptor and then registers it, so that forked children close it. A child that another thread forks between these
/// two steps would keep the descriptor. When a fork overlaps with the call, the value is dropped and `open` is called again, up to 20
/// times with pauses of 1 ms. The number of attempts is limited because the forking thread may wait for this one in a handler of the
/// program. After the last attempt the value is returned although a fork may have overlapped.
///
/// # Errors
/// The errors of `open`.
pub fn retry_across_forks<T>(mut open: impl FnMut() -> Result<T>) -> Result<T> {
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

/// Returns the number of forks that have begun if another thread is forking now, otherwise `None`.
///
/// A child of such a fork may still copy the present memory and descriptors.
pub fn begun_while_forking() -> Option<u64> {
    fence(SeqCst);
    let begun = BEGUN.load(SeqCst);
    (ENDED.load(SeqCst) != begun.wrapping_sub(FORKS_OF_THREAD.get())).then_some(begun)
}

fn begun_by_others() -> u64 {
    BEGUN.load(SeqCst).wrapping_sub(FORKS_OF_THREAD.get())
}

/// A lazily initialised value with one instance per process.
///
/// A forked child does not see the value of its parent.
///
/// Initialisation does not block, so that a fork never copies a partly initialised value. When two threads initialise it at the same
/// time, one of the two values is dropped. A `Mutex` inside is never inherited in the locked state, because a child has its own value.
#[derive(Debug)]
pub struct PerProcess<T> {
    first: OnceBox<Instance<T>>,
}

/// The value of one process, with a link to the value of its child.
#[derive(Debug)]
struct Instance<T> {
    value: T,
    epoch: u64,
    next: OnceBox<Self>,
}

impl<T> PerProcess<T> {
    /// Creates an uninitialised value.
    pub const fn new() -> Self {
        Self { first: OnceBox::new() }
    }

    /// Returns the value of this process, or `None` if it is not initialised.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        let epoch = epoch();
        let mut instance = self.first.get()?;
        while instance.epoch != epoch {
            instance = instance.next.get()?;
        }
        Some(&instance.value)
    }
}

impl<T: Send> PerProcess<T> {
    /// Returns the value of this process, initialised by `make` if necessary.
    ///
    /// # Errors
    /// The errors of `make`. The value then stays uninitialised.
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
        let mut made = Some(Box::new(Instance { value: make()?, epoch, next: OnceBox::new() }));
        let mut cell = &self.first;
        loop {
            match cell.get() {
                Some(instance) if instance.epoch == epoch => return Ok(&instance.value),
                Some(instance) => cell = &instance.next,
                // `set` fails when another thread has set the cell first.
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
    fn racing_threads_get_one_value() {
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
    fn a_failed_initialisation_leaves_the_value_uninitialised() {
        let value = PerProcess::<u32>::new();
        value.get_or_try_init(|| Err(crate::Error::absent())).unwrap_err();
        assert_eq!(value.get(), None);
        assert_eq!(value.get_or_try_init(|| Ok(7)).unwrap(), &7);
    }

    #[test]
    fn undisturbed_calls_open() {
        current();
        let mut opened = 0;
        retry_across_forks(|| {
            opened += 1;
            Ok(())
        })
        .unwrap();
        assert!(opened >= 1);
    }
}

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use lock_core::PerProcess;
use lock_core::{
    Acquired, Capabilities, Cause, Condition, Deadline, Deadlines, Death, DeathReports, Error, ErrorKind, Holder, Holders, Lock,
    Numbering, Persistence, Proof, RawLock, Recovery, Reentry, Result, Sharing, StoreId, Tokens,
};
use lock_table::thread;

use crate::sys::{Semaphore, TIMED_WAIT};

/// What [`anonymous`] claims.
pub const ANONYMOUS: Capabilities = Capabilities::least()
    .numbering(Numbering::Single)
    .sharing(Sharing::Threads)
    .deadlines(Deadlines::Monotonic)
    .reentry(Reentry::Refused)
    .holders(Holders::Named)
    .tokens(Tokens::Fencing)
    .death_reports(DeathReports::UntilConsistent)
    .persistence(Persistence::Process);

/// LXC's private lock: a new lock between the threads of this process, which belongs to no store.
///
/// It is what `lxc_newlock(NULL, NULL)` makes, an unnamed semaphore with the value 1 (`src/lxc/lxclock.h` of LXC), with what that
/// one lacks: deadlines are on the monotonic clock, a thread that locks it twice is refused, and it is released by its guard and
/// nothing else, so that it cannot be released twice and let two in. A guard that is dropped while its thread panics is reported
/// to the next owners.
///
/// A forked child has a lock of its own, which is free at first. Guards that it inherited do nothing there.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let lock = lock_sem::anonymous();
/// let guard = lock.lock()?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| assert!(lock.try_lock_for(Duration::from_millis(1)).is_err()));
/// });
/// guard.unlock()?;
/// assert!(lock.try_lock()?.is_some());
/// # Ok::<(), lock_core::Error>(())
/// ```
///
/// # Panics
/// When there is no memory to have forks noticed.
pub fn anonymous() -> Lock {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let lock = Anonymous { own: PerProcess::new() };
    // From now on forks are noticed.
    lock.own.get_or_try_init(|| Ok(Private::new())).expect("nothing in it can fail");
    let number = MADE.fetch_add(1, Relaxed);
    Lock::standalone(Arc::new(lock), format!("anonymous lock {number}"), StoreId::new(ANONYMOUS_STORES | u128::from(number)))
}

/// Their identities order them in [`lock_core::lock_all`]; no store has such a one but by a chance of 1 to 2⁶⁴.
const ANONYMOUS_STORES: u128 = 0x616e_6f6e_796d_6f75 << 64;

#[derive(Debug)]
struct Anonymous {
    own: PerProcess<Private>,
}

/// The lock in one process.
#[derive(Debug)]
struct Private {
    semaphore: Box<Semaphore>,
    /// The thread that holds it, or 0.
    owner: AtomicU32,
    /// The thread that panicked holding it, or 0. For the owner alone.
    panicked: AtomicU32,
    token: AtomicU64,
}

impl Private {
    fn new() -> Self {
        let [owner, panicked] = [0; 2].map(AtomicU32::new);
        Self { semaphore: Semaphore::private(1), owner, panicked, token: AtomicU64::new(0) }
    }

    fn is_held_by_this_thread(&self) -> bool {
        self.owner.load(Relaxed) == thread::id()
    }

    fn take(&self, deadline: Deadline) -> Result<bool> {
        if self.semaphore.try_take().map_err(|e| Error::system("sem_trywait", e))? {
            return Ok(true);
        }
        loop {
            let remaining = deadline.remaining();
            if remaining.is_some_and(|remaining| remaining.is_zero()) {
                return Ok(false);
            }
            if self.semaphore.take_within(remaining).map_err(|e| Error::system(TIMED_WAIT, e))? {
                return Ok(true);
            }
        }
    }
}

impl RawLock for Anonymous {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let own = self.own.get_or_try_init(|| Ok(Private::new()))?;
        if own.is_held_by_this_thread() {
            return Err(ErrorKind::AlreadyHeld.into());
        }
        if !own.take(deadline)? {
            return Ok(Acquired::TimedOut);
        }
        own.owner.store(thread::id(), Relaxed);
        let token = own.token.fetch_add(1, Relaxed) + 1;
        Ok(match own.panicked.load(Relaxed) {
            0 => Acquired::Held { token },
            thread => {
                let death = Death::of(Some(describe(thread))).with_cause(Cause::Panicked);
                Acquired::Recovered(Box::new(Recovery { token, death }))
            }
        })
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let own = self.own.get().filter(|own| own.is_held_by_this_thread()).ok_or(ErrorKind::Lost)?;
        if proof.condition() == Condition::Panicked {
            own.panicked.store(thread::id(), Relaxed);
        }
        own.owner.store(0, Relaxed);
        own.semaphore.give().map_err(|e| Error::system("sem_post", e))
    }

    fn mark_consistent(&self) -> Result<()> {
        let own = self.own.get().filter(|own| own.is_held_by_this_thread()).ok_or(ErrorKind::Lost)?;
        own.panicked.store(0, Relaxed);
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let owner = self.own.get().map_or(0, |own| own.owner.load(Relaxed));
        Ok((owner != 0).then(|| describe(owner)))
    }
}

/// A thread of this process.
fn describe(thread: u32) -> Holder {
    let command = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    Holder::of_process(std::process::id()).with_thread(thread).with_command(command.trim_end())
}

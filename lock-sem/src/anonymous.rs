use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use lock_core::PerProcess;
use lock_core::{
    Acquired, Capabilities, Cause, Condition, Deadline, Deadlines, Death, DeathReports, Error, GuardChecks, Holder, Holders,
    Lock, Numbering, OwnerKind, Persistence, Proof, RawLock, Recovery, Reentry, Result, SendGuards, Sharing, StoreId, Tokens,
};
use lock_table::thread;

use crate::sys::{PosixSemaphore, TIMED_WAIT};

/// The capabilities of [`anonymous`].
pub const ANONYMOUS: Capabilities = Capabilities::minimal()
    .with_numbering(Numbering::Single)
    .with_sharing(Sharing::Threads)
    .with_deadlines(Deadlines::Monotonic)
    .with_reentry(Reentry::Refused)
    .with_guard_checks(GuardChecks::Supported)
    .with_send_guards(SendGuards::Supported)
    .with_holders(Holders::Named)
    .with_tokens(Tokens::Fencing)
    .with_death_reports(DeathReports::UntilConsistent)
    .with_persistence(Persistence::Process);

/// Creates LXC's private lock: a lock between the threads of this process that belongs to no store.
///
/// Like `lxc_newlock(NULL, NULL)`, it is an unnamed semaphore with the value 1 (`src/lxc/lxclock.h` of LXC). It differs in these
/// points:
///
/// - A deadline is on the monotonic clock.
/// - A thread that holds the lock is refused a second acquisition.
/// - Only the guard releases the lock, so it cannot be released twice.
/// - When a thread panics while it holds the lock, the next owners get a report.
///
/// A forked child has a separate lock, which is free at first. A guard that the child inherits has no effect there.
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
/// Panics if there is no memory for the registration that detects forks.
pub fn anonymous() -> Lock {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let lock = Anonymous { own: PerProcess::new() };
    // The first use registers the detection of forks.
    lock.own.get_or_try_init(|| Ok(Private::new())).expect("memory for the detection of forks");
    let number = COUNT.fetch_add(1, Relaxed);
    Lock::standalone(Arc::new(lock), format!("anonymous lock {number}"), StoreId::new(ANONYMOUS_STORES | u128::from(number)))
}

/// The upper half of the identities of these locks.
///
/// An identity gives the order in [`lock_core::lock_all`]. A store has the same upper half with a probability of 2⁻⁶⁴.
const ANONYMOUS_STORES: u128 = 0x616e_6f6e_796d_6f75 << 64;

#[derive(Debug)]
struct Anonymous {
    own: PerProcess<Private>,
}

/// The state of the lock in one process.
#[derive(Debug)]
struct Private {
    semaphore: Box<PosixSemaphore>,
    /// The thread that holds the lock, [`PROCESS`], or 0.
    owner: AtomicU32,
    /// The last owner that panicked while it held the lock, or 0. Only the owner accesses it.
    panicked: AtomicU32,
    token: AtomicU64,
}

/// The owner of a lock that belongs to the process. It is not a thread id.
const PROCESS: u32 = u32::MAX;

/// Returns the owner of a lock that the calling thread acquires or releases.
fn owner_of_kind(kind: OwnerKind) -> u32 {
    match kind {
        OwnerKind::Process => PROCESS,
        _ => thread::id(),
    }
}

impl Private {
    fn new() -> Self {
        let [owner, panicked] = [0; 2].map(AtomicU32::new);
        Self { semaphore: PosixSemaphore::private(1), owner, panicked, token: AtomicU64::new(0) }
    }

    fn is_held_by(&self, owner: u32) -> bool {
        self.owner.load(Relaxed) == owner
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

impl Anonymous {
    fn acquire_as(&self, owner: u32, deadline: Deadline) -> Result<Acquired> {
        let own = self.own.get_or_try_init(|| Ok(Private::new()))?;
        if own.is_held_by(thread::id()) {
            return Err(Error::already_held());
        }
        if !own.take(deadline)? {
            return Ok(Acquired::TimedOut);
        }
        own.owner.store(owner, Relaxed);
        let token = own.token.fetch_add(1, Relaxed) + 1;
        Ok(match own.panicked.load(Relaxed) {
            0 => Acquired::Held { token },
            owner => {
                let death = Death::of(Some(describe(owner))).with_cause(Cause::Panicked);
                Acquired::Recovered(Box::new(Recovery { token, death }))
            }
        })
    }

    /// Returns the state in this process if this owner holds the lock.
    fn held_by(&self, owner: u32) -> Result<&Private> {
        self.own.get().filter(|own| own.is_held_by(owner)).ok_or_else(Error::lost)
    }
}

impl RawLock for Anonymous {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(thread::id(), deadline)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(PROCESS, deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let owner = owner_of_kind(proof.owner());
        let own = self.held_by(owner)?;
        if proof.condition() == Condition::Panicked {
            own.panicked.store(owner, Relaxed);
        }
        own.owner.store(0, Relaxed);
        own.semaphore.give().map_err(|e| Error::system("sem_post", e))
    }

    fn check(&self, owner: OwnerKind, _token: Option<u64>) -> Result<()> {
        self.held_by(owner_of_kind(owner)).map(drop)
    }

    fn mark_consistent(&self, owner: OwnerKind, _token: Option<u64>) -> Result<()> {
        let own = self.held_by(owner_of_kind(owner))?;
        own.panicked.store(0, Relaxed);
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let owner = self.own.get().map_or(0, |own| own.owner.load(Relaxed));
        Ok((owner != 0).then(|| describe(owner)))
    }
}

/// Describes an owner: a thread of this process, or the process.
fn describe(owner: u32) -> Holder {
    let thread = if owner == PROCESS { 0 } else { owner };
    let command = fs::read_to_string("/proc/self/comm").unwrap_or_default();
    Holder::of_process(std::process::id()).with_thread(thread).with_command(command.trim_end())
}

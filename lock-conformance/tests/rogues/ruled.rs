//! A lock that reports deaths according to a wrong rule.

use std::fmt;
use std::fs;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;

use lock_core::{
    Acquired, Capabilities, Condition, Deadline, Death, Holder, LockId, Manager, OwnerKind, Proof, RawLock, Recovery, Result,
    StoreUrl,
};

use super::Faulty;
use super::fault::{self, Fault};
use crate::reference;

/// A wrong rule about the reports of deaths.
pub(super) trait Rule: fmt::Debug + Send + Sync + UnwindSafe + RefUnwindSafe + 'static {
    const NAME: &'static str;
    /// The fault, in one sentence.
    const FAULT: &'static str;
    const CAUGHT_BY: &'static [(&'static str, &'static str)];
    const CLAIMS: Capabilities = reference::CLAIMS;
    /// Whether the backend passes all cases except those in `CAUGHT_BY`.
    const CAUGHT_BY_NO_OTHER: bool = true;

    /// Returns the report for a new owner, which replaces the honest one.
    fn report(lock: &Ruled, death: Option<Death>, attempt: &Attempt) -> Option<Death> {
        let (_, _) = (lock, attempt);
        death
    }

    /// Runs before a release.
    fn release(lock: &Ruled, condition: Condition) {
        let (_, _) = (lock, condition);
    }

    /// Runs after an acquisition has timed out.
    fn timed_out(lock: &Ruled) {
        let _ = lock;
    }

    /// Marks the lock consistent.
    fn mark(lock: &Ruled) -> Result<()> {
        lock.honest.mark_consistent(OwnerKind::Thread, None)
    }
}

/// The circumstances of an acquisition.
pub(super) struct Attempt {
    pub(super) deadline: Deadline,
    /// The note at the start of the wait; `None` if the thread did not wait.
    pub(super) note_before_wait: Option<Note>,
}

/// An honest lock with a file for a note.
pub(super) struct Ruled {
    pub(super) honest: Arc<dyn RawLock>,
    file: PathBuf,
}

/// Numbers that a rule stores.
pub(super) type Note = Vec<u32>;

impl Ruled {
    /// Reads the note, which is empty if the file is absent.
    pub(super) fn note(&self) -> Note {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
    }

    pub(super) fn write(&self, note: &[u32]) {
        let text: Vec<_> = note.iter().map(u32::to_string).collect();
        // The write fails if the store is destroyed or its file system is full. The note is then lost.
        let _ = fs::write(&self.file, text.join(" "));
    }
}

/// Returns the backend with this rule.
pub(super) fn ruled<R: Rule>() -> Faulty {
    fault::faulty::<RuleFault<R>>()
}

#[derive(Debug)]
struct RuleFault<R>(PhantomData<R>);

impl<R: Rule> Fault for RuleFault<R> {
    const NAME: &'static str = R::NAME;
    const FAULT: &'static str = R::FAULT;
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = R::CAUGHT_BY;
    const CLAIMS: Capabilities = R::CLAIMS;
    const CAUGHT_BY_NO_OTHER: bool = R::CAUGHT_BY_NO_OTHER;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let file = format!("{}/note-{id}", url.location().display()).into();
        Ok(Arc::new(RuledLock::<R> { lock: Ruled { honest: honest.lock(id)?, file }, rule: PhantomData }))
    }
}

#[derive(Debug)]
struct RuledLock<R> {
    lock: Ruled,
    rule: PhantomData<R>,
}

impl<R: Rule> RawLock for RuledLock<R> {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let mut attempt = Attempt { deadline, note_before_wait: None };
        let mut acquired = self.lock.honest.acquire(Deadline::Now)?;
        if acquired == Acquired::TimedOut && deadline != Deadline::Now {
            attempt.note_before_wait = Some(self.lock.note());
            acquired = self.lock.honest.acquire(deadline)?;
        }
        let (token, death) = match acquired {
            Acquired::TimedOut => {
                R::timed_out(&self.lock);
                return Ok(acquired);
            }
            Acquired::Held { token } => (token, None),
            Acquired::Recovered(recovery) => (recovery.token, Some(recovery.death)),
        };
        Ok(match R::report(&self.lock, death, &attempt) {
            None => Acquired::Held { token },
            Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
        })
    }

    fn release(&self, proof: Proof) -> Result<()> {
        R::release(&self.lock, proof.condition());
        self.lock.honest.release(proof)
    }

    fn mark_consistent(&self, _: OwnerKind, _: Option<u64>) -> Result<()> {
        R::mark(&self.lock)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.lock.honest.holder()
    }
}

impl fmt::Debug for Ruled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ruled").finish_non_exhaustive()
    }
}

/// Returns the pid in a report, or 0.
pub(super) fn pid(death: &Death) -> u32 {
    death.holder.as_ref().map_or(0, |holder| holder.pid)
}

/// Returns the same report with another pid.
pub(super) fn of(pid: u32, death: &Death) -> Death {
    Death::of(Some(Holder::of_process(pid))).with_cause(death.cause)
}

/// Checks whether a process with this id exists.
pub(super) fn is_alive(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

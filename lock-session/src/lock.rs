use std::sync::Arc;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Cause, Condition, Deadline, Deadlines, Death, DeathReports, Error, Exclusion, Fairness, Generation,
    GuardChecks, Holder, Holders, LockId, OwnerDeath, OwnerKind, Proof, RawLock, Recovery, Reentry, Result, SendGuards,
    ThreadDeath, Tokens, Waiters,
};
use lock_table::thread;

use crate::held::Holding;
use crate::key::Key;
use crate::{End, Engine, Granted, Sessions, Wait, this_process};

/// The claims of a backend whose locks are [`SessionLock`]s, about everything that is the same for all servers.
pub const CLAIMS: Capabilities = Capabilities::minimal()
    .with_exclusion(Exclusion::Fenced)
    .with_owner_death(OwnerDeath::Reported)
    .with_thread_death(ThreadDeath::Kept)
    .with_death_reports(DeathReports::UntilConsistent)
    .with_deadlines(Deadlines::Monotonic)
    .with_fairness(Fairness::Queued)
    .with_reentry(Reentry::Refused)
    .with_send_guards(SendGuards::Supported)
    .with_guard_checks(GuardChecks::Supported)
    .with_holders(Holders::Named)
    .with_waiters(Waiters::Counted)
    .with_tokens(Tokens::Fencing);

/// The number of sessions in which an acquisition is tried.
const SESSIONS: u32 = 100;

/// A lock of a server.
#[derive(Debug)]
pub struct SessionLock<E: Engine> {
    sessions: Arc<Sessions<E>>,
    id: LockId,
    /// When the handle was created.
    generation: Option<Generation>,
}

impl<E: Engine> SessionLock<E> {
    /// Creates a handle on the lock with this id. `generation` is its present one, if the backend counts allocations.
    pub fn new(sessions: Arc<Sessions<E>>, id: LockId, generation: Option<Generation>) -> Self {
        Self { sessions, id, generation }
    }

    /// Acquires the lock in a session. Starts another session when one ends during the wait.
    fn acquire_as(&self, kind: OwnerKind, wait: &mut Wait<'_>) -> Result<Acquired> {
        let held = self.sessions.held()?;
        if held.contains(Key::of_this_thread(self.id)) {
            return Err(Error::already_held());
        }
        let owner = this_owner(kind);
        for _ in 0..SESSIONS {
            let live = self.sessions.live()?;
            let Granted { token, death, grant } =
                match live.notice(self.sessions.engine().acquire(live.session(), self.id, &owner, wait)) {
                    Ok(Some(granted)) => granted,
                    Ok(None) => return Ok(Acquired::TimedOut),
                    Err(error) if error.is_lost() && (wait.is_try() || wait.goes_on()) => continue,
                    Err(error) if error.is_lost() => return Ok(Acquired::TimedOut),
                    Err(error) => return Err(error),
                };
            if live.remaining().is_err() {
                // The answer came too late to rely on. The lock ends with the session.
                continue;
            }
            held.insert(Key::of(self.id, kind, token), &live, grant, death.clone());
            return Ok(match death {
                None => Acquired::Held { token },
                Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
            });
        }
        Err(Error::unreachable(
            "the lock server",
            format!("{SESSIONS} sessions ended one after the other while a lock was acquired"),
        ))
    }

    fn acquire_by(&self, kind: OwnerKind, deadline: Deadline) -> Result<Acquired> {
        let mut once = Some(deadline);
        self.acquire_in_slices(kind, &mut || once.take())
    }
}

impl<E: Engine> RawLock for SessionLock<E> {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_by(OwnerKind::Thread, deadline)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_by(OwnerKind::Process, deadline)
    }

    fn acquire_in_slices(&self, owner: OwnerKind, next: &mut dyn FnMut() -> Option<Deadline>) -> Result<Acquired> {
        match Wait::start(next) {
            Some(mut wait) => self.acquire_as(owner, &mut wait),
            None => Ok(Acquired::TimedOut),
        }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let key = Key::of_guard(self.id, proof.token());
        let Holding { live, grant, death, .. } = self.sessions.held()?.remove(key)?;
        live.release(self.id, grant, end(proof, death))
    }

    fn check(&self, _owner: OwnerKind, token: Option<u64>) -> Result<()> {
        let (held, key) = (self.sessions.held()?, Key::of_guard(self.id, token));
        let (live, grant) = held.get(key)?;
        held.notice(key, self.sessions.engine().confirm(live.session(), self.id, &grant))
    }

    fn mark_consistent(&self, _owner: OwnerKind, token: Option<u64>) -> Result<()> {
        let (held, key) = (self.sessions.held()?, Key::of_guard(self.id, token));
        let (live, grant) = held.get(key)?;
        held.notice(key, self.sessions.engine().mark_consistent(live.session(), self.id, &grant))?;
        held.mark_consistent(key);
        Ok(())
    }

    fn valid_for(&self, _owner: OwnerKind, token: Option<u64>) -> Result<Option<Duration>> {
        let (live, _) = self.sessions.held()?.get(Key::of_guard(self.id, token))?;
        live.remaining().map(Some)
    }

    fn on_lost(&self, _owner: OwnerKind, token: Option<u64>, call: Box<dyn FnOnce() + Send>) -> Result<()> {
        self.sessions.held()?.on_lost(Key::of_guard(self.id, token), call)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.sessions.engine().holder(self.id)
    }

    fn waiters(&self) -> Option<u32> {
        self.sessions.engine().waiters(self.id).ok()
    }

    /// Without an answer of the server, the generation is that of the handle, which is then not stale.
    fn generation(&self) -> Option<Generation> {
        self.sessions.engine().generation(self.id).unwrap_or(self.generation)
    }

    fn initial_generation(&self) -> Option<Generation> {
        self.generation
    }
}

/// Describes the calling thread, or its process, as an owner.
fn this_owner(kind: OwnerKind) -> Holder {
    let process = this_process();
    if kind == OwnerKind::Process { process } else { process.with_thread(thread::id()) }
}

/// Returns how a critical section ends whose owner got this report and did not mark the data consistent.
fn end(proof: Proof, death: Option<Death>) -> End {
    match (proof.condition(), death) {
        (Condition::Consistent, _) => End::Consistent,
        (Condition::Panicked, _) => End::Report(Death::of(Some(this_owner(proof.owner()))).with_cause(Cause::Panicked)),
        (_, death) => End::Report(death.unwrap_or_else(|| Death::of(None))),
    }
}

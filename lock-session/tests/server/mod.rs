//! A lock server in the memory of the test, which ends a session only when the test says so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use lock_core::{Cause, Death, Error, Generation, Holder, Lock, LockId, Result, StoreId};
use lock_session::{End, Engine, Granted, Session, SessionLock, Sessions, Timing, Wait};

#[derive(Clone, Debug, Default)]
pub(crate) struct Server(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) is_unreachable: bool,
    /// The sessions that last.
    pub(crate) sessions: Vec<u64>,
    /// The number of sessions that were started.
    pub(crate) started: u64,
    pub(crate) renewals: u64,
    pub(crate) locks: HashMap<LockId, Owned>,
    reports: HashMap<LockId, Death>,
    tokens: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) session: u64,
    pub(crate) token: u64,
    holder: Holder,
}

impl Server {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Opens a store of this server.
    pub(crate) fn store(&self, timing: Timing) -> Arc<Sessions<Memory>> {
        Arc::new(Sessions::new(Memory { server: self.clone(), timing }))
    }

    /// Ends a session, and frees its locks.
    pub(crate) fn end(&self, session: u64) {
        let mut state = self.state();
        state.sessions.retain(|other| *other != session);
        let (lost, kept) = state.locks.drain().partition(|(_, owned)| owned.session == session);
        state.locks = kept;
        let lost: HashMap<LockId, Owned> = lost;
        let reports = lost.into_iter().map(|(id, owned)| (id, Death::of(Some(owned.holder)).with_cause(Cause::SessionEnded)));
        state.reports.extend(reports);
    }

    fn request<T>(&self, answer: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        if state.is_unreachable {
            return Err(Error::unreachable("the server", "the test says so"));
        }
        answer(&mut state)
    }
}

/// Waits until the condition holds, as the test's watchdog allows.
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen within 30 seconds");
}

pub(crate) fn lock(store: &Arc<Sessions<Memory>>, id: u32) -> Lock {
    Lock::standalone(Arc::new(SessionLock::new(Arc::clone(store), LockId::new(id), None)), "memory", StoreId::new(1))
}

#[derive(Debug)]
pub(crate) struct Memory {
    server: Server,
    timing: Timing,
}

#[derive(Debug)]
pub(crate) struct MemorySession {
    server: Server,
    number: u64,
}

impl MemorySession {
    fn request<T>(&self, answer: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        self.server.request(|state| if state.sessions.contains(&self.number) { answer(state) } else { Err(Error::lost()) })
    }

    fn as_owner<T>(&self, id: LockId, grant: u64, answer: impl FnOnce(&mut State) -> T) -> Result<T> {
        self.request(|state| match state.locks.get(&id) {
            Some(owned) if owned.token == grant => Ok(answer(state)),
            _ => Err(Error::lost()),
        })
    }
}

impl Engine for Memory {
    type Session = MemorySession;
    type Grant = u64;

    fn timing(&self) -> Timing {
        self.timing
    }

    fn start(&self) -> Result<MemorySession> {
        self.server.request(|state| {
            state.started += 1;
            state.sessions.push(state.started);
            Ok(MemorySession { server: self.server.clone(), number: state.started })
        })
    }

    fn acquire(&self, session: &MemorySession, id: LockId, owner: &Holder, wait: &mut Wait<'_>) -> Result<Option<Granted<u64>>> {
        loop {
            let granted = session.request(|state| {
                if state.locks.contains_key(&id) {
                    return Ok(None);
                }
                state.tokens += 1;
                let token = state.tokens;
                state.locks.insert(id, Owned { session: session.number, token, holder: owner.clone() });
                Ok(Some(Granted { token, death: state.reports.get(&id).cloned(), grant: token }))
            })?;
            if granted.is_some() || !wait.goes_on() {
                return Ok(granted);
            }
            thread::sleep(wait.remaining(Duration::from_millis(5)));
        }
    }

    fn release(&self, session: &MemorySession, id: LockId, grant: &u64, end: &End) -> Result<()> {
        session.as_owner(id, *grant, |state| {
            state.locks.remove(&id);
            state.reports.remove(&id);
            if let End::Report(death) = end {
                state.reports.insert(id, death.clone());
            }
        })
    }

    fn mark_consistent(&self, session: &MemorySession, id: LockId, grant: &u64) -> Result<()> {
        session.as_owner(id, *grant, |state| drop(state.reports.remove(&id)))
    }

    fn confirm(&self, session: &MemorySession, id: LockId, grant: &u64) -> Result<()> {
        session.as_owner(id, *grant, |_| ())
    }

    fn holder(&self, id: LockId) -> Result<Option<Holder>> {
        self.server.request(|state| Ok(state.locks.get(&id).map(|owned| owned.holder.clone())))
    }

    fn waiters(&self, _id: LockId) -> Result<u32> {
        Ok(0)
    }

    fn generation(&self, _id: LockId) -> Result<Option<Generation>> {
        Ok(None)
    }
}

impl Session for MemorySession {
    fn renew(&self, _time: Duration) -> Result<()> {
        self.request(|state| {
            state.renewals += 1;
            Ok(())
        })
    }

    fn end(&self) {
        if !self.server.state().is_unreachable {
            self.server.end(self.number);
        }
    }
}

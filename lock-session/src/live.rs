use std::fmt;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use lock_core::{Error, LockId, Result};
use nix::sys::signal::{SigSet, SigmaskHow};

use crate::clock::now;
use crate::lease::Lease;
use crate::losses::Losses;
use crate::unforked::Unforked;
use crate::{End, Engine, Session, Timing};

/// How long closing a store waits for the end of its session.
const CLOSING: Duration = Duration::from_secs(1);

/// A session of this process, with the threads that keep it.
pub(crate) struct Live<E: Engine> {
    engine: Arc<E>,
    session: Unforked<E::Session>,
    timing: Timing,
    lease: Lease,
    losses: Losses,
    state: Mutex<State<E>>,
    changed: Condvar,
}

struct State<E: Engine> {
    /// The store is being closed.
    is_closing: bool,
    /// The session was ended at the server, or could not be.
    has_ended: bool,
    /// Releases to repeat.
    unreleased: Vec<Unreleased<E>>,
    /// A release was added since the renewing thread looked.
    is_new: bool,
}

struct Unreleased<E: Engine> {
    id: LockId,
    grant: E::Grant,
    end: End,
}

impl<E: Engine> Live<E> {
    /// Starts a session.
    pub(crate) fn start(engine: &Arc<E>) -> Result<Arc<Self>> {
        let (timing, sent) = (engine.timing(), now());
        let live = Arc::new(Self {
            engine: Arc::clone(engine),
            session: Unforked::new(engine.start()?),
            timing,
            lease: Lease::new(timing, sent),
            losses: Losses::new(),
            state: Mutex::new(State { is_closing: false, has_ended: false, unreleased: Vec::new(), is_new: false }),
            changed: Condvar::new(),
        });
        live.spawn("lock-lease", Self::watch).and_then(|()| live.spawn("lock-renewal", Self::keep)).inspect_err(|_| {
            live.lease.give_up();
            live.changed.notify_all();
            live.session.end();
        })?;
        Ok(live)
    }

    fn spawn(self: &Arc<Self>, name: &str, run: fn(&Self)) -> Result<()> {
        let live = Arc::clone(self);
        // The new thread inherits the mask, so that it takes no signal of the program.
        let signals =
            SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(|error| Error::system("pthread_sigmask", error))?;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(&live));
        let _ = signals.thread_set_mask();
        thread.map(drop).map_err(|error| Error::system("pthread_create", error))
    }

    pub(crate) fn session(&self) -> &E::Session {
        &self.session
    }

    /// Returns how long the session is surely alive, or an error when that time is over.
    pub(crate) fn remaining(&self) -> Result<Duration> {
        self.lease.remaining().ok_or_else(|| {
            self.give_up();
            Error::lost()
        })
    }

    pub(crate) fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Stops relying on the session. Its locks are lost.
    pub(crate) fn give_up(&self) {
        if self.lease.give_up() {
            self.losses.lose_all();
            self.changed.notify_all();
        }
    }

    /// Gives the session up after this result if the server says that it has ended.
    pub(crate) fn notice<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            if error.is_lost() {
                self.give_up();
            }
        })
    }

    /// Releases a lock, and repeats the release later if the server cannot be reached.
    pub(crate) fn release(&self, id: LockId, grant: E::Grant, end: End) -> Result<()> {
        let released = self.engine.release(&self.session, id, &grant, &end);
        if released.as_ref().is_err_and(|error| !error.is_lost()) {
            let mut state = self.state();
            state.unreleased.push(Unreleased { id, grant, end });
            state.is_new = true;
            self.changed.notify_all();
        }
        released
    }

    /// Ends the session of a store that is closed.
    pub(crate) fn close(&self) {
        self.lease.give_up();
        let mut state = self.state();
        state.is_closing = true;
        self.changed.notify_all();
        let ended = self.changed.wait_timeout_while(state, CLOSING, |state| !state.has_ended);
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for the time until which the session is relied on.
    fn watch(&self) {
        while let Some(remaining) = self.lease.remaining() {
            let state = self.state();
            if state.is_closing {
                return;
            }
            drop(self.changed.wait_timeout(state, remaining).unwrap_or_else(PoisonError::into_inner));
        }
        self.give_up();
    }

    /// Renews the session until it is given up, and ends it then.
    fn keep(&self) {
        let mut pause = self.timing.renewal();
        loop {
            let is_idle = |state: &mut State<E>| !state.is_closing && !state.is_new && self.lease.remaining().is_some();
            let waited = self.changed.wait_timeout_while(self.state(), pause, is_idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_new = false;
            drop(state);
            let Some(remaining) = self.lease.remaining() else { break };
            let sent = now();
            pause = match self.session.renew(remaining.min(self.timing.renewal())) {
                Ok(()) if !self.lease.confirm(sent) => break,
                Ok(()) if self.release_again() => self.timing.renewal(),
                Err(error) if error.is_lost() => break,
                _ => self.timing.retry(),
            };
        }
        self.give_up();
        self.session.end();
        self.state().has_ended = true;
        self.changed.notify_all();
    }

    /// Repeats releases, and returns true if none is left. After one without an answer, the others have to wait for the next renewal.
    fn release_again(&self) -> bool {
        let mut unreleased = mem::take(&mut self.state().unreleased).into_iter();
        let is_done = unreleased.all(|lock| {
            let released = self.engine.release(&self.session, lock.id, &lock.grant, &lock.end);
            let is_left = released.is_err_and(|error| !error.is_lost());
            if is_left {
                self.state().unreleased.push(lock);
            }
            !is_left
        });
        self.state().unreleased.extend(unreleased);
        is_done
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine> fmt::Debug for Live<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("session", &self.session).field("lease", &self.lease).finish_non_exhaustive()
    }
}

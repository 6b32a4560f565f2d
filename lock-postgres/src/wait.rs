//! How threads wait for notifications of the server.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lock_core::Result;

use crate::socket::Socket;

/// The pause of the reading thread while another one uses the connection.
const PAUSE: Duration = Duration::from_millis(1);

/// The time between two surveys when a waiter of the session is the first one of its lock, and otherwise.
///
/// A survey finds the death of an owner or of an earlier waiter. A release notifies the first waiter.
const FIRST: Duration = Duration::from_millis(20);
const OTHERS: Duration = Duration::from_millis(100);

/// What the waiting threads of a session ask the server.
pub(crate) trait Inquiry {
    /// Receives from the socket. Returns `None` if another thread uses the connection.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) when the session has ended.
    fn receive(&self) -> Result<Option<Vec<String>>>;

    /// Asks the server which waiters of the session may try to acquire their locks.
    ///
    /// # Errors
    /// As [`Inquiry::receive`]; those of a statement.
    fn survey(&self) -> Result<Survey>;
}

/// The state of the waiters of a session.
pub(crate) struct Survey {
    /// The waiters that may try, as in notifications.
    pub(crate) due: Vec<String>,
    /// One of the other waiters is the first one of its lock.
    pub(crate) has_first: bool,
}

/// The notifications of a session, which its waiting threads share.
///
/// One of the threads waits for the socket, and receives and asks for all. The others wait for that thread.
#[derive(Debug)]
pub(crate) struct Notices {
    socket: Socket,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    arrived: HashSet<String>,
    /// A thread waits for the socket.
    has_reader: bool,
    next_survey: Instant,
}

impl Notices {
    pub(crate) fn new(socket: Socket) -> Self {
        let state = State { arrived: HashSet::new(), has_reader: false, next_survey: Instant::now() };
        Self { socket, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds notifications that have arrived.
    pub(crate) fn deliver(&self, texts: Vec<String>) {
        if !texts.is_empty() {
            self.state().arrived.extend(texts);
            self.changed.notify_all();
        }
    }

    /// Announces that a waiter joins the queue of its lock, as the first one.
    pub(crate) fn join_as_first(&self) {
        let mut state = self.state();
        state.next_survey = state.next_survey.min(Instant::now() + FIRST);
    }

    /// Waits until the notification of a waiter has arrived, or the time has passed.
    ///
    /// # Errors
    /// Those of [`Inquiry::survey`].
    pub(crate) fn wait(&self, waiter: &str, time: Duration, server: &impl Inquiry) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            let mut state = self.state();
            let left = end.saturating_duration_since(Instant::now());
            if state.arrived.remove(waiter) || left.is_zero() {
                return Ok(());
            }
            if state.has_reader {
                drop(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
                continue;
            }
            state.has_reader = true;
            let until_survey = state.next_survey.saturating_duration_since(Instant::now());
            drop(state);
            let _reader = Reader { notices: self };
            if until_survey.is_zero() {
                self.survey(server)?;
                continue;
            }
            // Another waiter may join as the first one meanwhile. An error of the socket shows in `receive`.
            if !self.socket.wait(left.min(until_survey).min(FIRST)).unwrap_or(true) {
                continue;
            }
            match server.receive()? {
                Some(texts) => self.deliver(texts),
                None => drop(self.changed.wait_timeout(self.state(), PAUSE).unwrap_or_else(PoisonError::into_inner)),
            }
        }
    }

    fn survey(&self, server: &impl Inquiry) -> Result<()> {
        let Survey { due, has_first } = server.survey()?;
        let pause = if has_first || !due.is_empty() { FIRST } else { OTHERS };
        self.state().next_survey = Instant::now() + pause;
        self.deliver(due);
        Ok(())
    }

    /// Removes the notification of a waiter that has stopped waiting.
    pub(crate) fn forget(&self, waiter: &str) {
        self.state().arrived.remove(waiter);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that waits for the socket. When it stops, another one takes its place.
struct Reader<'a> {
    notices: &'a Notices,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.notices.state().has_reader = false;
        self.notices.changed.notify_all();
    }
}

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use lock_core::{Error, Result};
use lock_session::Session;

use crate::connection::Connection;
use crate::options::StoreOptions;
use crate::server::Server;
use crate::sqlstate::{Failure, Outcome};
use crate::statement::{Row, Statement, Value};
use crate::wait::{Inquiry, Notices, Survey};

const SURVEY: Statement = Statement { name: "survey", text: "select * from lock_store.survey($1::integer, $2::bigint)" };

/// A session: a connection that the server ends when it gets no statement for the time to live.
pub(crate) struct PostgresSession {
    /// The number in the tables.
    id: i64,
    pool: i32,
    server: Server,
    timeout: Duration,
    connection: Mutex<Connection>,
    notices: Notices,
    is_listening: Mutex<bool>,
    /// The number of locks that the session holds, and its maximum.
    held: AtomicUsize,
    max_held: usize,
}

impl PostgresSession {
    /// Makes a session of a connection.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](lock_core::ErrorKind::Unsupported) if the server does not accept the time to live; those of a statement.
    pub(crate) fn start(mut connection: Connection, pool: i32, options: &StoreOptions) -> Result<Self> {
        let server = options.server.clone();
        connection.keep();
        let (ttl, timeout) = (options.timing.ttl.as_millis(), options.timeout.as_millis());
        let seconds = options.timing.ttl.as_secs().div_ceil(4).max(1);
        // Not all servers can find out during a statement that the connection has ended.
        let text = format!(
            "set idle_session_timeout = {ttl}; set statement_timeout = {timeout}; set lock_timeout = 0; set synchronous_commit = on; set plan_cache_mode = force_generic_plan; \
             set tcp_user_timeout = {ttl}; set tcp_keepalives_idle = {seconds}; set tcp_keepalives_interval = {seconds}; \
             set tcp_keepalives_count = 3; \
             do $$ begin perform set_config('client_connection_check_interval', '1s', false); exception when others then null; end $$; \
             select (extract(epoch from current_setting('idle_session_timeout')::interval) * 1000)::bigint, lock_store.start()"
        );
        let rows = connection.batch(&text).map_err(|failure| failure.into_error(&server))?;
        let id = rows.last().filter(|row| row.number(0).is_some_and(|set| i128::from(set) == ttl.cast_signed()));
        let id = id.and_then(|row| row.number(1)).ok_or_else(|| {
            Error::unsupported(format!(
                "{server} does not end idle sessions after {ttl} ms; connect to the PostgreSQL server itself"
            ))
        })?;
        Ok(Self {
            id,
            pool,
            server,
            timeout: options.timeout,
            notices: Notices::new(connection.socket()),
            connection: Mutex::new(connection),
            is_listening: Mutex::new(false),
            held: AtomicUsize::new(0),
            max_held: options.max_held,
        })
    }

    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// Executes a statement, and returns its first row.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`](lock_core::ErrorKind::Lost) if the connection has ended, with which the session ends; those of the server.
    pub(crate) fn run(&self, statement: &Statement, parameters: &[Value<'_>]) -> Result<Row> {
        self.with(|connection| connection.run(statement, parameters).map(|mut rows| rows.pop().unwrap_or(Row(Vec::new()))))
    }

    /// Returns true if the server notifies this session.
    pub(crate) fn is_listening(&self) -> bool {
        *self.is_listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the server notify this session.
    ///
    /// # Errors
    /// As [`PostgresSession::run`].
    pub(crate) fn listen(&self) -> Result<()> {
        let mut is_listening = self.is_listening.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_listening {
            self.with(|connection| connection.batch(&format!("listen lock_store_{}", self.id)))?;
            *is_listening = true;
        }
        Ok(())
    }

    /// Announces that a waiter joins the queue of its lock, as the first one.
    pub(crate) fn join_as_first(&self) {
        self.notices.join_as_first();
    }

    /// Waits until the waiter of this ticket may try to acquire its lock, or the time has passed.
    ///
    /// # Errors
    /// As [`PostgresSession::run`].
    pub(crate) fn wait(&self, waiter: &str, time: Duration) -> Result<()> {
        self.notices.wait(waiter, time, self)
    }

    /// Forgets the notification of a waiter that has stopped waiting.
    pub(crate) fn forget(&self, waiter: &str) {
        self.notices.forget(waiter);
    }

    /// Counts a lock that the session is about to hold.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`](lock_core::ErrorKind::Limit) if it holds the maximum number.
    pub(crate) fn reserve(&self) -> Result<Reservation<'_>> {
        let max = self.max_held;
        let add = |held: usize| (held < max).then_some(held + 1);
        match self.held.fetch_update(Relaxed, Relaxed, add) {
            Ok(_) => Ok(Reservation { session: self }),
            Err(_) => Err(Error::limit(
                "a process holds as many locks as the option max-held allows; hold fewer, or raise it together with \
                 max_locks_per_transaction of the server",
                std::io::Error::other(format!("{max} locks are held")),
            )),
        }
    }

    /// Counts a lock that the session no longer holds.
    pub(crate) fn unreserve(&self) {
        self.held.fetch_sub(1, Relaxed);
    }

    fn with<T>(&self, call: impl FnOnce(&mut Connection) -> Outcome<T>) -> Result<T> {
        let mut connection = self.connection();
        if connection.is_broken() {
            return Err(Error::lost());
        }
        let result = call(&mut connection);
        self.notices.deliver(connection.take_notifications());
        drop(connection);
        result.map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> Error {
        match failure {
            // The server ends the session with the connection.
            Failure::Broken(error) => Error::lost().advise(error.to_string()),
            refused => refused.into_error(&self.server),
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inquiry for PostgresSession {
    fn receive(&self) -> Result<Option<Vec<String>>> {
        let mut connection = match self.connection.try_lock() {
            Ok(connection) => connection,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // The thread that executes a statement receives the notifications.
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        if connection.is_broken() {
            return Err(Error::lost());
        }
        let received = connection.receive_notifications();
        received.map_err(|failure| self.error(failure))?;
        Ok(Some(connection.take_notifications()))
    }

    fn survey(&self) -> Result<Survey> {
        let rows = self.with(|connection| connection.run(&SURVEY, &[self.pool.into(), self.id.into()]))?;
        let of_rank = |rank: i64| rows.iter().filter(move |row| row.number(2) == Some(rank));
        let due = of_rank(0).filter_map(|row| Some(format!("{} {}", row.text(0)?, row.text(1)?)));
        Ok(Survey { due: due.collect(), has_first: of_rank(1).next().is_some() })
    }
}

impl Session for PostgresSession {
    fn renew(&self, time: Duration) -> Result<()> {
        let pid = self.with(|connection| {
            let answer = connection.ping("select pg_backend_pid()", time, self.timeout)?;
            Ok(answer.map(|row| row.number(0) == Some(connection.process().into())))
        })?;
        match pid {
            Some(true) => Ok(()),
            Some(false) => Err(Error::lost().advise(format!("{} has moved the session to another process", self.server))),
            None => Err(Error::unreachable(self.server.to_string(), "it did not answer in time")),
        }
    }

    fn end(&self) {
        self.connection().close();
    }
}

/// A lock that counts as held, unless [`Reservation::keep`] is not called.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    session: &'a PostgresSession,
}

impl Reservation<'_> {
    /// Goes on counting the lock.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.session.unreserve();
    }
}

impl fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSession").field("id", &self.id).field("server", &self.server).finish_non_exhaustive()
    }
}

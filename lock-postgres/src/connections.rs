use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lock_core::{PerProcess, Result};

use crate::connection::Connection;
use crate::options::StoreOptions;
use crate::sqlstate::{Failure, Outcome};
use crate::statement::{Row, Statement, Value};

/// The time limit of statements that read or change many rows.
const LONG: Duration = Duration::from_secs(600);

/// The number of attempts when another transaction makes a statement fail.
const ATTEMPTS: u32 = 10;

/// The connections of a store that are not sessions: one for each process, opened when it is first needed.
///
/// A session does not use it, so that a statement that takes long does not delay a renewal.
#[derive(Debug)]
pub(crate) struct Connections {
    options: StoreOptions,
    process: PerProcess<Mutex<Option<Connection>>>,
}

impl Connections {
    pub(crate) fn new(options: StoreOptions) -> Self {
        Self { options, process: PerProcess::new() }
    }

    pub(crate) fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Executes a statement, and returns its rows.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`](lock_core::ErrorKind::Unreachable) if the statement may have been executed or not; those of the server.
    pub(crate) fn run(&self, statement: &Statement, parameters: &[Value<'_>]) -> Result<Vec<Row>> {
        self.with(|connection| connection.run(statement, parameters))
    }

    /// Executes a statement that may take minutes.
    ///
    /// # Errors
    /// As [`Connections::run`].
    pub(crate) fn run_long(&self, statement: &Statement, parameters: &[Value<'_>]) -> Result<Vec<Row>> {
        self.with(|connection| {
            connection.set_timeout(LONG)?;
            let rows = connection.run(statement, parameters);
            connection.set_timeout(self.options.timeout)?;
            rows
        })
    }

    /// Calls a function with the connection of this process. It is called again if another transaction made it fail.
    ///
    /// # Errors
    /// As [`Connections::run`].
    pub(crate) fn with<T>(&self, mut call: impl FnMut(&mut Connection) -> Outcome<T>) -> Result<T> {
        let mut slot = self.slot()?;
        let connection = match slot.take().and_then(usable) {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let connection = slot.insert(connection);
        let mut result = call(connection);
        for _ in 1..ATTEMPTS {
            match &result {
                Err(Failure::Refused(error)) if error.is_temporary() => result = call(connection),
                _ => break,
            }
        }
        if connection.is_broken() {
            *slot = None;
        }
        result.map_err(|failure| failure.into_error(&self.options.server))
    }

    /// Takes the connection of this process for a session, or opens one.
    ///
    /// # Errors
    /// Those of [`Connection::open`].
    pub(crate) fn take(&self) -> Result<Connection> {
        let idle = self.slot()?.take();
        idle.and_then(usable).map_or_else(|| Connection::open(&self.options), Ok)
    }

    fn connect(&self) -> Result<Connection> {
        let mut connection = Connection::open(&self.options)?;
        let limit = format!("set lock_timeout = {}", self.options.timeout.as_millis());
        connection.batch(&limit).map_err(|failure| failure.into_error(&self.options.server))?;
        Ok(connection)
    }

    fn slot(&self) -> Result<MutexGuard<'_, Option<Connection>>> {
        let slot = self.process.get_or_try_init(|| Ok(Mutex::new(None)))?;
        Ok(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns a connection that the server has not closed since its last use.
fn usable(mut connection: Connection) -> Option<Connection> {
    connection.receive_notifications().ok()?;
    Some(connection)
}

impl Drop for Connections {
    fn drop(&mut self) {
        if let Some(slot) = self.process.get()
            && let Some(mut connection) = slot.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            connection.close();
        }
    }
}

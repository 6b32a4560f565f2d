use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lock_core::{Error, Generation, Holder, LockId, PerProcess, Result};
use lock_session::{End, Engine, Granted, Timing, Wait};

use crate::connections::Connections;
use crate::pool::Pool;
use crate::records;
use crate::session::PostgresSession;
use crate::statement::{Row, Statement, Value};

/// Acquires a lock that is free, and for which nobody waits. The last column is false if a stranger has the advisory lock.
const ACQUIRE_FREE: Statement = Statement {
    name: "acquire_free",
    text: "update lock_store.owner set session = $4::bigint, token = token + 1, holder = $5::text \
           where pool = $1::integer and id = $3::bigint and session = 0 and not is_queued \
           returning 'H', token, death, pg_try_advisory_lock($1::integer, $2::integer)",
};
const ACQUIRE: Statement = Statement {
    name: "acquire",
    text: "select * from lock_store.acquire($1::integer, $2::integer, $3::bigint, $4::bigint, $5::text, $6::boolean)",
};
/// Undoes [`ACQUIRE_FREE`].
const UNDO: Statement = Statement {
    name: "undo",
    text: "update lock_store.owner set session = 0 where pool = $1::integer and id = $2::bigint and session = $3::bigint and token = $4::bigint",
};
const RETRY: Statement = Statement {
    name: "retry",
    text: "select * from lock_store.retry($1::integer, $2::integer, $3::bigint, $4::bigint, $5::text, $6::bigint)",
};
const LEAVE: Statement =
    Statement { name: "leave", text: "select lock_store.leave($1::integer, $2::bigint, $3::bigint, $4::bigint)" };
const ABANDON: Statement =
    Statement { name: "abandon", text: "select lock_store.abandon($1::integer, $2::integer, $3::bigint, $4::bigint)" };
const RELEASE: Statement = Statement {
    name: "release",
    text: "update lock_store.owner set session = 0, death = $6::text \
           where pool = $1::integer and id = $3::bigint and session = $4::bigint and token = $5::bigint \
           returning pg_advisory_unlock($1::integer, $2::integer), \
               case when is_queued then lock_store.wake($1::integer, $3::bigint, $4::bigint) end",
};
const MARK_CONSISTENT: Statement = Statement {
    name: "mark_consistent",
    text: "update lock_store.owner set death = null \
           where pool = $1::integer and id = $2::bigint and session = $3::bigint and token = $4::bigint returning true",
};
const CONFIRM: Statement = Statement {
    name: "confirm",
    text: "select exists (select from lock_store.owner \
           where pool = $1::integer and id = $2::bigint and session = $3::bigint and token = $4::bigint)",
};
const HOLDER: Statement = Statement { name: "holder", text: "select lock_store.holder($1::integer, $2::bigint)" };
const WAITERS: Statement = Statement { name: "waiters", text: "select lock_store.waiters($1::integer, $2::bigint)" };
const GENERATION: Statement = Statement { name: "generation", text: "select lock_store.generation($1::integer, $2::bigint)" };

/// The longest time between two attempts of a waiter, should the server have forgotten to notify it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The maximum number of ids of which a process remembers that they were busy.
const REMEMBERED: usize = 1000;

/// The locks of a pool.
#[derive(Debug)]
pub(crate) struct PostgresLocks {
    connections: Arc<Connections>,
    pool: i32,
    /// Locks that were busy at the latest attempt of this process.
    busy: PerProcess<Mutex<HashSet<LockId>>>,
}

impl PostgresLocks {
    pub(crate) fn new(connections: Arc<Connections>, pool: &Pool) -> Self {
        Self { connections, pool: pool.key, busy: PerProcess::new() }
    }

    /// Acquires a lock, or joins its queue if `waits`. The row is that of the function `lock_store.acquire`.
    ///
    /// A free lock takes one statement, and so does one that was busy at the latest attempt.
    fn ask(&self, session: &PostgresSession, id: LockId, holder: &str, waits: bool) -> Result<Row> {
        let (key, number) = (records::advisory_key(id), records::number(id));
        let parameters = [self.pool.into(), key, number, session.id().into(), holder.into(), waits.into()];
        if !self.was_busy(id)? {
            let row = session.run(&ACQUIRE_FREE, &parameters[..5])?;
            if row.is_true(3) {
                return Ok(row);
            }
            if let Some(token) = row.number(1) {
                session.run(&UNDO, &[self.pool.into(), number, session.id().into(), token.into()])?;
            }
        }
        let row = session.run(&ACQUIRE, &parameters)?;
        self.set_busy(id, row.text(0) != Some("H"))?;
        Ok(row)
    }

    fn was_busy(&self, id: LockId) -> Result<bool> {
        Ok(self.busy()?.contains(&id))
    }

    fn set_busy(&self, id: LockId, is_busy: bool) -> Result<()> {
        let mut busy = self.busy()?;
        if is_busy && busy.len() < REMEMBERED {
            busy.insert(id);
        } else {
            busy.remove(&id);
        }
        Ok(())
    }

    fn busy(&self) -> Result<MutexGuard<'_, HashSet<LockId>>> {
        let busy = self.busy.get_or_try_init(|| Ok(Mutex::new(HashSet::new())))?;
        Ok(busy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn connections(&self) -> Arc<Connections> {
        Arc::clone(&self.connections)
    }

    /// Returns the generation of an id, which is 0 if it was never allocated.
    ///
    /// # Errors
    /// [`ErrorKind::Destroyed`](lock_core::ErrorKind::Destroyed) if the pool is gone; those of a statement.
    pub(crate) fn current_generation(&self, id: LockId) -> Result<Generation> {
        let row = self.run(&GENERATION, id)?;
        records::generation(&row, 0).ok_or_else(|| Error::corrupt("the generation of an id is not valid"))
    }

    /// Executes a statement about a lock that needs no session.
    fn run(&self, statement: &Statement, id: LockId) -> Result<Row> {
        let rows = self.connections.run(statement, &[self.pool.into(), records::number(id)])?;
        Ok(rows.into_iter().next().unwrap_or(Row(Vec::new())))
    }

    /// Waits in the queue. The first attempt is immediate if it `is_due`. Returns `None` when the wait is over, and the lock of this ticket is not acquired.
    fn wait(
        &self,
        session: &PostgresSession,
        id: LockId,
        holder: &str,
        ticket: i64,
        mut is_due: bool,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Granted<u64>>> {
        let waiter = format!("{id} {}", ticket);
        let parameters =
            [self.pool.into(), records::advisory_key(id), records::number(id), session.id().into(), holder.into(), ticket.into()];
        let granted = loop {
            if !is_due {
                session.wait(&waiter, wait.remaining(PATIENCE))?;
            }
            is_due = false;
            let row = session.run(&RETRY, &parameters)?;
            match row.text(0) {
                Some("H") => break Some(granted(&row)?),
                Some("F" | "W") => {}
                _ => return Err(Error::corrupt(format!("the ticket {} of the lock {id} was removed", ticket))),
            }
            if !wait.goes_on() {
                break None;
            }
        };
        session.forget(&waiter);
        Ok(granted)
    }

    /// Leaves the queue, and undoes an acquisition whose statement failed.
    fn leave(&self, session: &PostgresSession, id: LockId, ticket: i64) -> Result<()> {
        let (number, own) = (records::number(id), session.id().into());
        session.run(&LEAVE, &[self.pool.into(), number, own, ticket.into()]).map(drop)
    }

    fn abandon(&self, session: &PostgresSession, id: LockId) -> Result<()> {
        let (key, number) = (records::advisory_key(id), records::number(id));
        session.run(&ABANDON, &[self.pool.into(), key, number, session.id().into()]).map(drop)
    }

    /// Executes a statement about an acquisition, which is lost if the result is false.
    fn of_grant(&self, session: &PostgresSession, statement: &Statement, id: LockId, token: u64) -> Result<()> {
        let parameters = [self.pool.into(), records::number(id), session.id().into(), token.cast_signed().into()];
        if session.run(statement, &parameters)?.is_true(0) { Ok(()) } else { Err(Error::lost()) }
    }
}

impl Engine for PostgresLocks {
    type Session = PostgresSession;
    /// The token.
    type Grant = u64;

    fn timing(&self) -> Timing {
        self.connections.options().timing
    }

    fn start(&self) -> Result<PostgresSession> {
        PostgresSession::start(self.connections.take()?, self.pool, self.connections.options())
    }

    fn acquire(
        &self,
        session: &PostgresSession,
        id: LockId,
        owner: &Holder,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Granted<u64>>> {
        let reservation = session.reserve()?;
        let holder = records::holder_to_json(owner);
        let waits = !wait.is_try();
        // A release is not notified to a session that does not listen yet.
        let was_listening = session.is_listening();
        let acquired = self.ask(session, id, &holder, waits).and_then(|row| match (row.text(0), row.number(3)) {
            (Some("H"), _) => granted(&row).map(Some),
            (Some("B"), _) => Ok(None),
            (Some(status), Some(ticket)) => {
                if status == "F" {
                    session.join_as_first();
                }
                match session.listen().and_then(|()| self.wait(session, id, &holder, ticket, !was_listening, wait)) {
                    Ok(Some(granted)) => Ok(Some(granted)),
                    Err(error) if error.is_lost() => Err(error),
                    waited => {
                        self.leave(session, id, ticket)?;
                        waited
                    }
                }
            }
            _ => Err(Error::corrupt("the function lock_store.acquire has no result; the schema was changed")),
        });
        match &acquired {
            Ok(Some(_)) => reservation.keep(),
            Ok(None) => {}
            Err(error) if error.is_lost() => {}
            // The transaction was rolled back, but an advisory lock is kept by the session.
            Err(_) => self.abandon(session, id)?,
        }
        acquired
    }

    fn release(&self, session: &PostgresSession, id: LockId, token: &u64, end: &End) -> Result<()> {
        let death = match end {
            End::Consistent => None,
            End::Report(death) => Some(records::death_to_json(death)),
        };
        let released = session.run(
            &RELEASE,
            &[
                self.pool.into(),
                records::advisory_key(id),
                records::number(id),
                session.id().into(),
                token.cast_signed().into(),
                Value::from(death.as_deref()),
            ],
        )?;
        session.unreserve();
        if released.is_true(0) { Ok(()) } else { Err(Error::lost()) }
    }

    fn mark_consistent(&self, session: &PostgresSession, id: LockId, token: &u64) -> Result<()> {
        self.of_grant(session, &MARK_CONSISTENT, id, *token)
    }

    fn confirm(&self, session: &PostgresSession, id: LockId, token: &u64) -> Result<()> {
        self.of_grant(session, &CONFIRM, id, *token)
    }

    fn holder(&self, id: LockId) -> Result<Option<Holder>> {
        Ok(records::holder(&self.run(&HOLDER, id)?, 0))
    }

    fn waiters(&self, id: LockId) -> Result<u32> {
        Ok(self.run(&WAITERS, id)?.number(0).and_then(|count| count.try_into().ok()).unwrap_or(0))
    }

    fn generation(&self, id: LockId) -> Result<Option<Generation>> {
        self.current_generation(id).map(Some)
    }
}

/// Returns the acquisition in a row, with the token and the report after the status.
fn granted(row: &Row) -> Result<Granted<u64>> {
    let token = records::token(row, 1)?;
    Ok(Granted { token, death: records::death(row, 2), grant: token })
}

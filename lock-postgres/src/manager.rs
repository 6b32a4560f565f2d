use std::collections::BTreeMap;
use std::sync::Arc;

use lock_core::{
    Allocation, Error, ErrorKind, Generation, HeldLock, Label, LockId, Manager, OpenMode, RawLock, Reconciled, Result, StoreId,
    StoreUrl,
};
use lock_session::{OpenStores, SessionLock, Sessions, this_process};

use crate::connections::Connections;
use crate::lock::PostgresLocks;
use crate::options::StoreOptions;
use crate::pool::Pool;
use crate::records;
use crate::statement::{Row, Statement, Value};

const TAKE: Statement = Statement { name: "take", text: "select * from lock_store.take($1::integer, $2::text, false, $3::text)" };
const TAKE_EXACT: Statement =
    Statement { name: "take_exact", text: "select lock_store.take_exact($1::integer, $2::bigint, $3::text, $4::text)" };
const TAKE_NAMED: Statement =
    Statement { name: "take_named", text: "select * from lock_store.take_named($1::integer, $2::text, $3::text)" };
const FREE: Statement = Statement { name: "free", text: "select lock_store.free($1::integer, $2::bigint, $3::bigint)" };
const FREE_ALL: Statement = Statement { name: "free_all", text: "select lock_store.free_all($1::integer)" };
const RECONCILE: Statement = Statement {
    name: "reconcile",
    text: "select change, id from lock_store.reconcile($1::integer, $2::bigint[], $3::text[], $4::text) order by id",
};
const COUNT: Statement =
    Statement { name: "count", text: "select count(*) from lock_store.lock where pool = $1::integer and is_allocated" };
const LIST: Statement = Statement {
    name: "list",
    text: "select id, label, is_named, generation, allocator, extract(epoch from since)::bigint from lock_store.lock \
           where pool = $1::integer and id >= $2::bigint and is_allocated order by id limit $3::bigint",
};
const FIND: Statement = Statement {
    name: "allocation",
    text: "select id, label, is_named, generation, allocator, extract(epoch from since)::bigint from lock_store.lock \
           where pool = $1::integer and id = $2::bigint and is_allocated",
};
const HELD: Statement = Statement {
    name: "held",
    text: "select o.id, o.holder, lock_store.waiters(o.pool, o.id) from lock_store.owner o \
           where o.pool = $1::integer and o.id >= $2::bigint and o.session <> 0 and lock_store.is_alive(o.session, 0) \
           order by o.id limit $3::bigint",
};
const DESTROY: Statement = Statement { name: "destroy", text: "select lock_store.destroy_pool($1::integer, $2::uuid)" };
const DETAILS: Statement =
    Statement { name: "details", text: "select version(), (select created::text from lock_store.pool where key = $1::integer)" };

/// Opens or creates the store of a URL `postgres://USER@HOST:PORT/DATABASE?pool=NAME`.
pub(crate) fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let options = StoreOptions::of_url(url)?;
    let of_connection = StoreOptions { capacity: None, ..options.clone() };
    let same = OPEN.find(|_, locks| locks.connections().options() == &of_connection)?;
    let connections = same.map_or_else(|| Arc::new(Connections::new(of_connection)), |open| open.engine().connections());
    let pool = connections.with(|connection| Ok(Pool::open(connection, &options, mode)))??;
    let sessions =
        OPEN.find_or_insert((pool.id, url.as_str().to_owned()), || PostgresLocks::new(Arc::clone(&connections), &pool))?;
    Ok(Arc::new(PostgresStore { connections, pool, sessions }))
}

/// The stores of this process, by the identities of their pools and their URLs.
static OPEN: OpenStores<(u128, String), PostgresLocks> = OpenStores::new();

/// A store in a database.
#[derive(Debug)]
struct PostgresStore {
    connections: Arc<Connections>,
    pool: Pool,
    sessions: Arc<Sessions<PostgresLocks>>,
}

impl PostgresStore {
    fn check_range(&self, id: LockId) -> Result<()> {
        match self.capacity() {
            Some(capacity) if u64::from(id.get()) >= capacity => Err(Error::out_of_range(capacity)),
            _ => Ok(()),
        }
    }

    /// Executes a statement whose first parameter is the pool.
    fn run(&self, statement: &Statement, parameters: &[Value<'_>]) -> Result<Vec<Row>> {
        let parameters: Vec<_> = [Value::from(self.pool.key)].into_iter().chain(parameters.iter().copied()).collect();
        self.explain(self.connections.run(statement, &parameters))
    }

    fn run_long(&self, statement: &Statement, parameters: &[Value<'_>]) -> Result<Vec<Row>> {
        let parameters: Vec<_> = [Value::from(self.pool.key)].into_iter().chain(parameters.iter().copied()).collect();
        self.explain(self.connections.run_long(statement, &parameters))
    }

    /// Distinguishes a store that was destroyed from one that another one has replaced.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error.kind() {
            ErrorKind::Destroyed | ErrorKind::Absent => self.check().err().unwrap_or(error),
            _ => error,
        })
    }

    fn handle(&self, id: LockId, generation: Generation) -> Arc<dyn RawLock> {
        Arc::new(SessionLock::new(Arc::clone(&self.sessions), id, Some(generation)))
    }

    /// Returns the id and the generation of an allocation.
    fn taken(&self, rows: &[Row]) -> Result<(LockId, Generation)> {
        let taken = rows.first().and_then(|row| Some((records::id(row, 0)?, records::generation(row, 1)?)));
        match taken {
            Some(taken) => Ok(taken),
            None => Err(Error::exhausted(self.pool.capacity.limit(), self.count()?)),
        }
    }

    /// Returns the number of allocated ids.
    fn count(&self) -> Result<u64> {
        let rows = self.run_long(&COUNT, &[])?;
        Ok(rows.first().and_then(|row| row.number(0)).and_then(|count| count.try_into().ok()).unwrap_or(0))
    }

    fn take(&self, label: &Label) -> Result<(LockId, Generation)> {
        let allocator = records::holder_to_json(&this_process());
        self.taken(&self.run(&TAKE, &[label.as_str().into(), (&allocator).into()])?)
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        OPEN.close(&self.sessions);
    }
}

impl Manager for PostgresStore {
    fn id(&self) -> StoreId {
        StoreId::new(self.pool.id)
    }

    fn capacity(&self) -> Option<u64> {
        self.pool.capacity.capacity()
    }

    fn check(&self) -> Result<()> {
        let options = self.connections.options();
        let found = self.connections.with(|connection| Pool::find(connection, options));
        match found.and_then(|found| found) {
            Ok(Some(pool)) if pool.id == self.pool.id => Ok(()),
            Ok(Some(_)) => Err(Error::replaced()),
            Ok(None) => Err(Error::destroyed()),
            Err(error) if error.is_absent() => Err(Error::destroyed()),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        self.check_range(id)?;
        let generation = self.explain(self.sessions.engine().current_generation(id))?;
        Ok(self.handle(id, generation))
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        Ok(self.take(label)?.0)
    }

    fn allocate_lock(&self, label: &Label) -> Result<(LockId, Arc<dyn RawLock>)> {
        let (id, generation) = self.take(label)?;
        Ok((id, self.handle(id, generation)))
    }

    fn allocate_exact(&self, id: LockId, label: &Label) -> Result<()> {
        self.check_range(id)?;
        let allocator = records::holder_to_json(&this_process());
        let rows = self.run(&TAKE_EXACT, &[records::number(id), label.as_str().into(), (&allocator).into()])?;
        if rows.first().is_some_and(|row| row.is_true(0)) { Ok(()) } else { Err(Error::already_allocated()) }
    }

    fn named(&self, name: &Label) -> Result<(LockId, Option<Generation>)> {
        let allocator = records::holder_to_json(&this_process());
        let (id, generation) = self.taken(&self.run(&TAKE_NAMED, &[name.as_str().into(), (&allocator).into()])?)?;
        Ok((id, Some(generation)))
    }

    fn free(&self, id: LockId, generation: Option<Generation>) -> Result<()> {
        self.check_range(id)?;
        let generation = generation.map(|generation| generation.get().cast_signed());
        let rows = self.run(&FREE, &[records::number(id), generation.into()])?;
        match rows.first().and_then(|row| row.text(0)) {
            Some("F") => Ok(()),
            Some("S") => Err(Error::stale()),
            _ => Err(Error::not_allocated()),
        }
    }

    fn free_all(&self) -> Result<u64> {
        let rows = self.run_long(&FREE_ALL, &[])?;
        Ok(rows.first().and_then(|row| row.number(0)).and_then(|freed| freed.try_into().ok()).unwrap_or(0))
    }

    fn available(&self) -> Result<Option<u64>> {
        let Some(capacity) = self.capacity() else { return Ok(None) };
        Ok(Some(capacity.saturating_sub(self.count()?)))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        self.allocated_from(LockId::new(0), usize::MAX)
    }

    fn allocated_from(&self, from: LockId, limit: usize) -> Result<Vec<Allocation>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.run_long(&LIST, &[records::number(from), limit.into()])?.iter().map(records::allocation).collect()
    }

    fn allocation(&self, id: LockId) -> Result<Option<Allocation>> {
        self.check_range(id)?;
        self.run(&FIND, &[records::number(id)])?.first().map(records::allocation).transpose()
    }

    fn reconcile(&self, ids: &BTreeMap<LockId, Label>) -> Result<Reconciled> {
        ids.keys().try_for_each(|id| self.check_range(*id))?;
        let (numbers, labels) =
            (records::array(ids.keys().map(ToString::to_string)), records::array(ids.values().map(Label::to_string)));
        let allocator = records::holder_to_json(&this_process());
        let mut changes = Reconciled::default();
        for row in self.run_long(&RECONCILE, &[(&numbers).into(), (&labels).into(), (&allocator).into()])? {
            let id = records::id(&row, 1).ok_or_else(|| Error::corrupt("an id is not valid"))?;
            if row.text(0) == Some("A") { changes.allocated.push(id) } else { changes.freed.push(id) }
        }
        Ok(changes)
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        self.held_from(LockId::new(0), usize::MAX)
    }

    fn held_from(&self, from: LockId, limit: usize) -> Result<Vec<HeldLock>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.run_long(&HELD, &[records::number(from), limit.into()])?.iter().map(records::held).collect()
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let options = self.connections.options();
        let mut details = vec![
            ("server", options.server.to_string()),
            ("database", options.server.database.clone()),
            ("pool", format!("{} (key {} of advisory locks)", self.pool.name, self.pool.key)),
            ("session", format!("ends {:?} after the last sign of life", options.timing.ttl)),
        ];
        if let Ok(rows) = self.run(&DETAILS, &[])
            && let Some(row) = rows.first()
        {
            details.extend(row.text(0).map(|version| ("server version", version.to_owned())));
            details.extend(row.text(1).map(|created| ("created", created.to_owned())));
        }
        details
    }

    fn destroy(&self) -> Result<()> {
        let id = self.id().to_string();
        let rows = self.run_long(&DESTROY, &[(&id).into()])?;
        if rows.first().is_some_and(|row| row.is_true(0)) {
            return Ok(());
        }
        Err(self.check().err().unwrap_or_else(Error::destroyed))
    }
}

use lock_core::{Error, OpenMode, Result};
use lock_table::Bound;

use crate::connection::Connection;
use crate::options::StoreOptions;
use crate::schema;
use crate::sqlstate::{Failure, Outcome};
use crate::statement::{Row, Statement, Value};

/// A pool: the row of a store.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// The first key of its advisory locks. No other pool of the database gets the same one, also after the pool was destroyed.
    pub(crate) key: i32,
    /// The identity.
    pub(crate) id: u128,
    pub(crate) name: String,
    pub(crate) capacity: Bound,
}

const FIND: Statement = Statement {
    name: "find",
    text: "select m.version, p.key, p.id, p.capacity from lock_store.meta m left join lock_store.pool p on p.name = $1::text",
};

const CREATE: Statement = Statement { name: "create", text: "select lock_store.create_pool($1::text, $2::bigint)" };

/// The number of times that another process may destroy the pool between its creation and its opening.
const RETRIES: u32 = 100;

impl Pool {
    /// Opens or creates the pool of a URL.
    ///
    /// # Errors
    /// [`ErrorKind::Absent`](lock_core::ErrorKind::Absent), [`ErrorKind::Exists`](lock_core::ErrorKind::Exists),
    /// [`ErrorKind::OtherCapacity`](lock_core::ErrorKind::OtherCapacity), [`ErrorKind::OtherVersion`](lock_core::ErrorKind::OtherVersion).
    pub(crate) fn open(connection: &mut Connection, options: &StoreOptions, mode: OpenMode) -> Result<Self> {
        let server = &options.server;
        let fail = |failure: Failure| failure.into_error(server);
        let mut is_new = false;
        for _ in 0..RETRIES {
            let found = match Self::find(connection, options) {
                Err(failure) if schema::is_absent(&failure) && mode != OpenMode::Open => {
                    schema::create(connection)?;
                    continue;
                }
                found => found.map_err(fail)??,
            };
            match found {
                Some(_) if mode == OpenMode::Create && !is_new => return Err(Error::exists()),
                Some(pool) => return pool.with_capacity(options.capacity),
                None if mode == OpenMode::Open => {
                    let name = &options.pool;
                    return Err(
                        Error::absent().advise(format!("{server} has no pool {name}; create it, or give the option pool=NAME"))
                    );
                }
                None => {
                    let capacity = options.capacity.unwrap_or(Bound::DEFAULT).capacity();
                    let capacity = Value::from(capacity.and_then(|capacity| i64::try_from(capacity).ok()));
                    let rows = connection.run(&CREATE, &[(&options.pool).into(), capacity]).map_err(fail)?;
                    is_new = rows.first().is_some_and(|row| row.is_true(0));
                    if !is_new && mode == OpenMode::Create {
                        return Err(Error::exists());
                    }
                }
            }
        }
        Err(Error::destroyed())
    }

    /// Returns the pool of the URL, if there is one.
    pub(crate) fn find(connection: &mut Connection, options: &StoreOptions) -> Outcome<Result<Option<Self>>> {
        let rows = connection.run(&FIND, &[(&options.pool).into()])?;
        let Some(row) = rows.first() else { return Ok(Err(Error::corrupt("the table lock_store.meta is empty"))) };
        Ok(schema::check_version(row.number(0).unwrap_or(0), &options.server.database).and_then(|()| Self::of_row(row, options)))
    }

    fn of_row(row: &Row, options: &StoreOptions) -> Result<Option<Self>> {
        let Some(key) = row.number(1) else { return Ok(None) };
        let corrupt = |what: &str| Error::corrupt(format!("the {what} of the pool {} is not valid", options.pool));
        let id = row.text(2).map(|id| id.replace('-', "")).and_then(|id| u128::from_str_radix(&id, 16).ok());
        let capacity = match row.number(3) {
            Some(locks) => Bound::Locks(u32::try_from(locks).map_err(|_| corrupt("capacity"))?),
            None => Bound::Unbounded,
        };
        Ok(Some(Self {
            key: i32::try_from(key).map_err(|_| corrupt("key"))?,
            id: id.ok_or_else(|| corrupt("id"))?,
            name: options.pool.clone(),
            capacity,
        }))
    }

    fn with_capacity(self, asked: Option<Bound>) -> Result<Self> {
        match asked {
            Some(asked) if asked != self.capacity => Err(Error::other_capacity(self.capacity.to_string(), asked.to_string())),
            _ => Ok(self),
        }
    }
}

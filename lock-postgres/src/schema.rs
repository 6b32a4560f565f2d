//! The schema `lock_store`.

use lock_core::{Error, Result, StoreUrl};

use crate::connection::Connection;
use crate::options::StoreOptions;
use crate::sqlstate::{Failure, Outcome};
use crate::statement::Row;

/// The version of `schema.sql`.
const VERSION: i64 = 1;

const SCHEMA: &str = include_str!("schema.sql");

/// Creates the schema `lock_store` in the database of a store's URL, for users who may not create it.
///
/// The store is not created, and its options are not checked against an existing one. If the schema exists, the call only checks its
/// version. Opening a store with [`OpenMode::Create`](lock_core::OpenMode::Create) or
/// [`OpenMode::OpenOrCreate`](lock_core::OpenMode::OpenOrCreate) calls this.
///
/// # Errors
/// - [`ErrorKind::Denied`](lock_core::ErrorKind::Denied) if the user may not create a schema in the database.
/// - [`ErrorKind::OtherVersion`](lock_core::ErrorKind::OtherVersion) if the schema has another version.
/// - [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl) and the errors of connecting to the server.
pub fn migrate(url: &StoreUrl) -> Result<()> {
    let options = StoreOptions::of_url(url)?;
    let mut connection = Connection::open(&options)?;
    create(&mut connection)?;
    connection.close();
    Ok(())
}

/// Creates the schema, unless it exists.
///
/// # Errors
/// As [`migrate`].
pub(crate) fn create(connection: &mut Connection) -> Result<()> {
    let server = connection.server().clone();
    let created = create_in_transaction(connection);
    if created.is_err() && !connection.is_broken() {
        connection.batch("rollback").map_err(|failure| failure.into_error(&server))?;
    }
    let version = created.map_err(|failure| failure.into_error(&server))?;
    check_version(version, &server.database)
}

fn create_in_transaction(connection: &mut Connection) -> Outcome<i64> {
    // Excludes other creators until the commit.
    connection.batch("begin; select pg_advisory_xact_lock(1279983616, 0)")?;
    let found = connection.batch("select to_regnamespace('lock_store') is null, to_regclass('lock_store.meta') is null")?;
    let is_absent = |column| found.iter().any(|row: &Row| row.is_true(column));
    if is_absent(0) {
        connection.batch("create schema lock_store")?;
    }
    if is_absent(1) {
        connection.batch(SCHEMA)?;
    }
    let rows = connection.batch("select version from lock_store.meta; commit")?;
    Ok(rows.first().and_then(|row| row.number(0)).unwrap_or(0))
}

/// Checks the version of the schema in this database.
///
/// # Errors
/// [`ErrorKind::OtherVersion`](lock_core::ErrorKind::OtherVersion).
pub(crate) fn check_version(found: i64, database: &str) -> Result<()> {
    if found == VERSION {
        return Ok(());
    }
    let known = u32::try_from(VERSION).unwrap_or(0);
    Err(Error::other_version(
        u32::try_from(found).unwrap_or(0),
        known,
        format!("the schema lock_store of the database {database}"),
    ))
}

/// Returns true if the failure says that the schema is absent.
pub(crate) fn is_absent(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(error) if error.is_without_schema())
}

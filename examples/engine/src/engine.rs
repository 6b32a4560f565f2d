//! The database, the store of locks and the directories.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lock_any::{Lock, Store, StoreUrl};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::Result;

pub(crate) struct Engine {
    pub(crate) database: Connection,
    pub(crate) locks: Store,
    dir: PathBuf,
}

/// A row of the database.
pub(crate) struct Container {
    pub(crate) name: String,
    /// The id of the lock. It survives the processes that use it, so it is a column of the database.
    pub(crate) lock: u32,
    /// `creating`, `ready` or `removing`.
    pub(crate) state: String,
}

impl Engine {
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let database = Connection::open(dir.join("containers.db"))?;
        database.busy_timeout(Duration::from_secs(10))?;
        database.execute_batch(
            "create table if not exists containers (name text primary key, lock integer not null unique, state text not null)",
        )?;
        let locks = lock_any::open_or_create(StoreUrl::builder("shm").path(dir.join("locks")))?;
        Ok(Self { database, locks, dir: dir.to_owned() })
    }

    /// Begins a transaction that excludes those of other processes. Ids are allocated, and compared with the database, only in one.
    pub(crate) fn begin(&mut self) -> Result<Transaction<'_>> {
        Ok(self.database.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    pub(crate) fn containers(&self) -> Result<Vec<Container>> {
        let mut rows = self.database.prepare("select name, lock, state from containers order by name")?;
        let containers = rows.query_map([], |row| Ok(Container { name: row.get(0)?, lock: row.get(1)?, state: row.get(2)? }))?;
        Ok(containers.collect::<rusqlite::Result<_>>()?)
    }

    /// The state of a container. Read it again after its lock is acquired.
    pub(crate) fn state(&self, name: &str) -> Result<Option<String>> {
        let mut row = self.database.prepare("select state from containers where name = ?1")?;
        Ok(row.query_row([name], |row| row.get(0)).optional()?)
    }

    pub(crate) fn set_state(&self, name: &str, state: &str) -> Result<()> {
        self.database.execute("update containers set state = ?2 where name = ?1", [name, state])?;
        Ok(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Removes the directory and the row of a container, whose lock the caller holds, and then frees the id.
    pub(crate) fn delete(&self, name: &str, lock: &Lock) -> Result<()> {
        match fs::remove_dir_all(self.path(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => step("directory-removed"),
        }
        self.database.execute("delete from containers where name = ?1", [name])?;
        step("row-removed");
        Ok(lock.free()?)
    }
}

/// Stops the process at the step that the environment names, so that it can be killed there.
pub(crate) fn step(name: &str) {
    if std::env::var("ENGINE_STOP_AT").is_ok_and(|stop| stop == name) {
        println!("{name}");
        let _ = std::io::stdout().flush();
        loop {
            std::thread::park();
        }
    }
}

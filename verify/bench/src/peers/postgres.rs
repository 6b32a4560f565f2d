//! Bare statements of PostgreSQL, by the usual client.

use std::path::Path;

use postgres::{Client, Config, NoTls, Statement};

/// A connection with prepared statements.
pub(crate) struct Bare {
    client: Client,
    lock: Statement,
    unlock: Statement,
    lock_and_write: Statement,
    unlock_and_write: Statement,
}

impl Bare {
    pub(crate) fn connect(directory: &Path, port: u16) -> Self {
        let mut client =
            Config::new().host_path(directory).port(port).user("locks").dbname("postgres").connect(NoTls).expect("a server");
        let table = "create unlogged table if not exists bare (id int primary key, held bool) with (fillfactor = 50); \
                     insert into bare values (2, false) on conflict do nothing";
        client.batch_execute(table).expect("a table");
        let mut prepare = |text: &str| client.prepare(text).expect("a statement");
        let lock = prepare("select pg_try_advisory_lock(7, 1)");
        let unlock = prepare("select pg_advisory_unlock(7, 1)");
        let lock_and_write = prepare("update bare set held = pg_try_advisory_lock(7, 2) where id = 2 returning held");
        let unlock_and_write = prepare("update bare set held = not pg_advisory_unlock(7, 2) where id = 2 returning not held");
        Self { client, lock, unlock, lock_and_write, unlock_and_write }
    }

    /// Acquires and releases an advisory lock.
    pub(crate) fn pair(&mut self) {
        let (lock, unlock) = (self.lock.clone(), self.unlock.clone());
        self.ask(&lock);
        self.ask(&unlock);
    }

    /// The same, where each statement also writes a row of an unlogged table, without which no death can be reported.
    pub(crate) fn pair_with_writes(&mut self) {
        let (lock, unlock) = (self.lock_and_write.clone(), self.unlock_and_write.clone());
        self.ask(&lock);
        self.ask(&unlock);
    }

    fn ask(&mut self, statement: &Statement) {
        let is_done: bool = self.client.query_one(statement, &[]).expect("an answer").get(0);
        assert!(is_done);
    }
}

//! What the server sees: one statement for each operation, and none that waits.

use std::thread;
use std::time::{Duration, Instant};

use lock_core::{OpenMode, Registry, Store};
use lock_servers::Postgres;

/// A time that no operation needs.
const LONG: Duration = Duration::from_secs(60);

fn open(url: &str) -> Store {
    let registry = Registry::default().merge([lock_postgres::BACKEND]).unwrap();
    Store::open(&registry, url, OpenMode::OpenOrCreate).unwrap()
}

/// Counts the statements of an operation in the log of the server. Renewals are not counted.
fn statements<T>(server: &Postgres, operation: impl FnOnce() -> T) -> (Vec<String>, T) {
    let before = server.log().len();
    let result = operation();
    // A statement is logged before it is executed, and its answer was received.
    let log = server.log().split_off(before);
    let lines = log.lines().filter(|line| line.contains(" execute ") || line.contains("statement:"));
    let own = lines.filter(|line| !line.contains("statement: select pg_backend_pid()"));
    (own.map(str::to_owned).collect(), result)
}

#[test]
fn an_operation_is_one_statement() {
    let server = match Postgres::start("log_statement = all") {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let store = open(&(server.url("a") + "&capacity=100"));
    // The first use starts the session, and makes the row of the lock.
    let first = store.allocate("").unwrap();
    first.lock().unwrap().unlock().unwrap();
    store.allocate("").unwrap().free().unwrap();
    macro_rules! takes_one_statement {
        ($operation:expr) => {{
            let (statements, result) = statements(&server, || $operation);
            assert_eq!(statements.len(), 1, "{}: {statements:#?}", stringify!($operation));
            result
        }};
    }
    let lock = takes_one_statement!(store.allocate("a label").unwrap());
    let guard = takes_one_statement!(first.lock().unwrap());
    takes_one_statement!(guard.check().unwrap());
    takes_one_statement!(guard.unlock().unwrap());
    let guard = takes_one_statement!(first.try_lock().unwrap().unwrap());
    takes_one_statement!(drop(guard));
    let _ = takes_one_statement!(store.retrieve(lock.id()).unwrap());
    takes_one_statement!(store.allocation(lock.id()).unwrap());
    takes_one_statement!(store.allocated().unwrap());
    takes_one_statement!(store.held().unwrap());
    takes_one_statement!(store.available().unwrap());
    takes_one_statement!(store.reconcile([1_u32, 2, 3]).unwrap());
    takes_one_statement!(store.free(2).unwrap());
    takes_one_statement!(store.free_all().unwrap());
    takes_one_statement!(store.check().unwrap());
}

#[test]
fn nobody_waits_in_a_statement() {
    let server = match Postgres::start("") {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    // Different options, so that owner and waiters have different sessions.
    let (owners, waiters) = (open(&server.url("a")), open(&(server.url("a") + "&ttl=9s")));
    let lock = owners.allocate("").unwrap();
    let guard = lock.lock().unwrap();
    server.must("create table orders (id int)");
    let same = waiters.retrieve(lock.id()).unwrap();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| drop(same.try_lock_for(LONG).unwrap()))).collect();
        let begin = Instant::now();
        while server.must("select count(*) from lock_store.waiter") != "4" {
            assert!(begin.elapsed() < LONG, "the waiters do not queue");
            thread::sleep(Duration::from_millis(10));
        }
        // It waits for all transactions that began before it, several times.
        server.must("alter role locks set statement_timeout = '30s'");
        server.must("create index concurrently on orders (id)");
        for _ in 0..20 {
            let waiting = server.must(
                "select count(*) from pg_stat_activity where application_name = 'lock-postgres' \
                 and (wait_event_type = 'Lock' or state = 'idle in transaction' or now() - query_start > '1s' and state = 'active')",
            );
            assert_eq!(waiting, "0");
        }
        assert_eq!(same.held_by().holder().map(|holder| holder.pid), Some(std::process::id()));
        assert_eq!(owners.held().unwrap()[0].waiters, Some(4));
        guard.unlock().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(server.must("select count(*) from lock_store.waiter"), "0");
    // The waiters were killed or have left, so that the lock is acquired without a look at the queue.
    assert_eq!(server.must("select is_queued from lock_store.owner"), "f");
}

/// The rows of ids that were allocated by number do not say where the free ids begin.
#[test]
fn an_allocation_passes_many_given_ids_at_once() {
    const GIVEN: u32 = 200_000;
    let server = match Postgres::start("") {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let store = open(&server.url("given"));
    store.reconcile(0..GIVEN).unwrap();
    assert_eq!(store.allocate("").unwrap().id().get(), GIVEN);
    (GIVEN + 1..GIVEN + 50).for_each(|id| _ = store.allocate_and_retrieve(id, "").unwrap());
    store.free(7).unwrap();
    let next: Vec<_> = (0..3).map(|_| store.allocate("").unwrap().id().get()).collect();
    assert_eq!(next, [7, GIVEN + 50, GIVEN + 51]);
}

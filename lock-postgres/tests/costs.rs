//! The time of operations beside that of bare statements. The tests measure, and do not fail because a machine is slow.
//!
//! `cargo test --release --package lock-postgres --test costs -- --ignored --nocapture --test-threads 1`

use std::cell::RefCell;
use std::time::{Duration, Instant};

use lock_core::{OpenMode, Registry, Store};
use lock_servers::Postgres;
use postgres::{Client, NoTls};

/// What is measured, with its name.
type Measured<'a> = (&'static str, Box<dyn FnMut() + 'a>);

fn server() -> Option<Postgres> {
    Postgres::start("").map_err(|reason| eprintln!("skipped: {reason}")).ok()
}

fn open(server: &Postgres, options: &str) -> Store {
    let registry = Registry::default().merge([lock_postgres::BACKEND]).unwrap();
    Store::open(&registry, (server.url("costs") + options).as_str(), OpenMode::OpenOrCreate).unwrap()
}

/// Calls each function in turn, and prints the medians and their ratios to the first.
fn print_side_by_side(measured: &mut [Measured<'_>], rounds: u32, calls: u32) {
    let mut times = vec![Vec::new(); measured.len()];
    for _ in 0..rounds {
        for ((_, call), times) in measured.iter_mut().zip(&mut times) {
            let begin = Instant::now();
            (0..calls).for_each(|_| call());
            times.push(begin.elapsed() / calls);
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let medians: Vec<_> = times.iter_mut().map(median).collect();
    for ((name, _), time) in measured.iter().zip(&medians) {
        println!("{name}: {time:?}, {:.2} x the first", time.as_secs_f64() / medians[0].as_secs_f64());
    }
}

#[test]
#[ignore = "it measures, on an idle machine and with optimized code"]
fn lock_and_unlock_beside_two_bare_statements() {
    let Some(server) = server() else { return };
    let config = format!("host={} port={} user=locks dbname=postgres", server.directory().display(), server.port());
    let mut client = Client::connect(&config, NoTls).unwrap();
    client
        .batch_execute(
            "create unlogged table bare (id int primary key, is_held boolean not null) with (fillfactor = 40);
             insert into bare values (5, false)",
        )
        .unwrap();
    let mut prepare = |text: &str| client.prepare(text).unwrap();
    let (lock, unlock) = (prepare("select pg_try_advisory_lock(1, $1)"), prepare("select pg_advisory_unlock(1, $1)"));
    let update = |value: &str, call: &str| format!("update bare set is_held = {value} where id = $1 returning {call}(1, id)");
    let (take, free) = (prepare(&update("true", "pg_try_advisory_lock")), prepare(&update("false", "pg_advisory_unlock")));
    let client = RefCell::new(client);
    let pair = |first, second| {
        let mut client = client.borrow_mut();
        client.query_one(first, &[&5]).unwrap();
        client.query_one(second, &[&5]).unwrap();
    };
    let store = open(&server, "");
    let ours = store.allocate("").unwrap();
    print_side_by_side(
        &mut [
            ("two bare statements", Box::new(|| pair(&lock, &unlock))),
            ("two updates of one row with them", Box::new(|| pair(&take, &free))),
            ("lock and unlock", Box::new(|| ours.lock().unwrap().unlock().unwrap())),
        ],
        60,
        300,
    );
}

#[test]
#[ignore = "it measures, on an idle machine and with optimized code"]
fn allocation_with_few_and_with_many_locks() {
    let Some(server) = server() else { return };
    let few = open(&server, "&capacity=unbounded");
    let many = open(&server, ".many&capacity=unbounded");
    let fill = |name: &str, count: u32| {
        server.must(&format!(
            "insert into lock_store.lock (pool, id, born) select key, number, born from lock_store.pool, generate_series(0, {count} - 1) as number
             where name = '{name}'; update lock_store.pool set next = {count} where name = '{name}'"
        ))
    };
    fill("costs", 1000);
    fill("costs.many", 1_000_000);
    server.must("vacuum analyze lock_store.lock");
    let allocate_and_free = |store: &Store| store.allocate("a label").unwrap().free().unwrap();
    print_side_by_side(
        &mut [
            ("allocate and free, 1,000 locks", Box::new(|| allocate_and_free(&few))),
            ("allocate and free, 1,000,000 locks", Box::new(|| allocate_and_free(&many))),
        ],
        40,
        100,
    );
}

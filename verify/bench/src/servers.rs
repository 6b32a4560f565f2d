//! Locks of servers: etcd and PostgreSQL, which this program starts in scratch directories.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lock_any::{Lock, LockId, Store};
use lock_servers::{Etcd, Postgres};

use crate::effort::Effort;
use crate::peers::{etcd, postgres};
use crate::process::{self, Process};
use crate::promise;
use crate::rounds::{Subject, compare};
use crate::row::{Row, quantile};
use crate::scratch::Scratch;
use crate::unit::Unit;

pub(crate) const ROLE: &str = "owner-at-server";
const PAIR: &str = "lock + unlock at a server, uncontended";
const ALLOCATION: &str = "allocate + free at a server";
const HAND_OVER: &str = "from the death of an owner at a server to the next one";
/// The least time to live of a session with etcd.
const TTL: Duration = Duration::from_secs(2);

pub(crate) fn rows(scratch: &Scratch, effort: &Effort) -> Vec<Row> {
    let mut rows = match Postgres::start("fsync = on") {
        Ok(server) => with_postgres(scratch, effort, &server),
        Err(why) => vec![Row::unmeasured(PAIR, "postgres", Unit::Nanoseconds, why)],
    };
    rows.extend(match Etcd::start_on_disk(&["--quota-backend-bytes", "8589934592"]) {
        Ok(server) => with_etcd(scratch, effort, &server),
        Err(why) => vec![Row::unmeasured(PAIR, "etcd", Unit::Nanoseconds, why)],
    });
    rows
}

fn create(url: &str) -> Store {
    lock_any::create(url).expect("a store can be made")
}

fn pair(lock: &Lock) {
    drop(lock.lock().expect("it is uncontended"));
}

fn with_postgres(scratch: &Scratch, effort: &Effort, server: &Postgres) -> Vec<Row> {
    let lock = create(&server.url("pair")).allocate("").expect("a lock");
    let mut bare = postgres::Bare::connect(server.directory(), server.port());
    let mut writing = postgres::Bare::connect(server.directory(), server.port());
    let [ours, statements, writes] = compare(
        effort.rounds,
        [
            Subject::new("postgres", || pair(&lock)),
            Subject::new("two bare statements", || bare.pair()),
            Subject::new("two bare statements that write a row", || writing.pair_with_writes()),
        ],
    );
    let mut rows =
        vec![ours.beside(&statements, PAIR, "postgres").promise(promise::SERVER_TO_BARE), ours.beside(&writes, PAIR, "postgres")];
    rows.push(allocation(effort, "postgres", |name| server.url(&format!("{name}&capacity=unbounded"))));
    let url = server.url("death");
    rows.extend(hand_over(scratch, "postgres", &url, effort.kills, promise::HAND_OVER_FROM_POSTGRES_NS));
    rows
}

fn with_etcd(scratch: &Scratch, effort: &Effort, server: &Etcd) -> Vec<Row> {
    let url = |name: &str| format!("etcd://{}/{name}", server.address());
    let lock = create(&url("pair")).allocate("").expect("a lock");
    let bare = etcd::Bare::connect(server.address());
    let subjects = [Subject::new("etcd", || pair(&lock)), Subject::new("two bare writes", || bare.pair())];
    let [ours, writes] = compare(effort.rounds, subjects);
    let mut rows = vec![ours.beside(&writes, PAIR, "etcd").promise(promise::SERVER_TO_BARE)];
    rows.push(allocation(effort, "etcd", |name| url(&format!("{name}?capacity=unbounded"))));
    let url = url(&format!("death?ttl={}s", TTL.as_secs()));
    // Each kill takes the time to live of a session.
    rows.extend(hand_over(scratch, "etcd, with sessions of 2 s", &url, effort.kills.min(25), promise::HAND_OVER_FROM_ETCD_NS));
    rows
}

/// Compares a large store with a small one.
fn allocation(effort: &Effort, engine: &str, url: impl Fn(&str) -> String) -> Row {
    let [small, large] = [1_000, effort.allocated_at_server].map(|allocated| {
        let store = create(&url(&format!("allocated-{allocated}")));
        store.reconcile((0..allocated).map(LockId::new)).expect("there is room");
        store
    });
    let once = |store: &Store| store.free(store.allocate("").expect("there is room").id()).expect("it is allocated");
    let subjects = [Subject::new("large", || once(&large)), Subject::new("with 1,000 allocated", || once(&small))];
    let [large, small] = compare(effort.slow_rounds, subjects);
    let name = format!("{engine}, with {} allocated", effort.allocated_at_server);
    large.beside(&small, ALLOCATION, name).promise(promise::ALLOCATION_GROWS)
}

fn hand_over(scratch: &Scratch, engine: &str, url: &str, kills: usize, promise: promise::Promise) -> Vec<Row> {
    let lock = create(url).retrieve(0).expect("a lock");
    let mut times: Vec<_> = (0..kills).map(|_| kill(scratch.path(), url, &lock).as_nanos() as f64).collect();
    times.sort_by(f64::total_cmp);
    let row = |what: &str, part| {
        let time: Vec<_> = quantile(&times, part).into_iter().collect();
        Row::new(HAND_OVER, format!("{engine}: {what} of {kills} kills"), Unit::Nanoseconds, &time)
    };
    vec![row("median", 0.5), row("p99", 0.99).promise(promise)]
}

/// Measures the time from the kill until the waiter has the lock.
fn kill(scratch: &Path, url: &str, lock: &Lock) -> Duration {
    let mut owner = Process::start(ROLE, scratch, &[url]).expect("a process");
    assert_eq!(owner.answer(), "held");
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let waiter = scope.spawn(move || {
            tell.send(()).expect("the receiver exists");
            let guard = lock.lock().expect("it becomes free");
            let moment = process::now();
            drop(guard);
            moment
        });
        told.recv().expect("the waiter sends it");
        while lock.waiters() != Some(1) {
            thread::sleep(Duration::from_millis(1));
        }
        let moment = owner.kill();
        waiter.join().expect("it does not panic").saturating_sub(moment)
    })
}

/// Runs the owner, until it is killed.
pub(crate) fn run(arguments: &[String]) {
    let store = lock_any::open(arguments[0].as_str()).expect("the store is there");
    let lock = store.retrieve(0).expect("a lock");
    let _guard = lock.lock().expect("it becomes free");
    process::tell("held");
    process::orders().for_each(drop);
}

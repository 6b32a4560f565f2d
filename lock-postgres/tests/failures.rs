//! What happens when the server, the network or an administrator does something.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Cause, Error, ErrorKind, OpenMode, Registry, Store, StoreUrl};
use lock_servers::Postgres;
use nix::sys::signal::Signal;

/// A time that no operation needs.
const LONG: Duration = Duration::from_secs(60);

/// Starts a server, or returns from the test with the reason.
macro_rules! server {
    ($settings:expr) => {
        match Postgres::start($settings) {
            Ok(server) => server,
            Err(reason) => return eprintln!("skipped: {reason}"),
        }
    };
}

fn open_as(url: &str, mode: OpenMode) -> Result<Store, Error> {
    let registry = Registry::default().merge([lock_postgres::BACKEND]).unwrap();
    Store::open(&registry, url, mode)
}

fn open(url: &str) -> Result<Store, Error> {
    open_as(url, OpenMode::OpenOrCreate)
}

/// Returns the kind and the message of the error of opening a URL.
fn refusal(url: &str) -> (ErrorKind, String) {
    let error = open(url).unwrap_err();
    (error.kind(), error.to_string())
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LONG, "this did not happen: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the connections of this condition, and returns their number.
fn terminate(server: &Postgres, condition: &str) -> String {
    server.must(&format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'lock-postgres' and {condition}"
    ))
}

/// Gives a user the rights that the documentation of the crate lists.
fn grant(server: &Postgres, user: &str) {
    server.must(&format!("grant usage on schema lock_store to {user}"));
    server.must(&format!("grant select, insert, update, delete on all tables in schema lock_store to {user}"));
    server.must(&format!("grant usage on all sequences in schema lock_store to {user}"));
}

/// The sessions of locks, which have the advisory locks of their numbers.
const SESSIONS: &str = "pid in (select pid from pg_locks where locktype = 'advisory' and classid = 1279983616)";

#[test]
fn a_restart_loses_held_locks_and_keeps_allocations() {
    let server = server!("");
    let store = open(&server.url("a")).unwrap();
    let lock = store.named("a name").unwrap();
    let guard = lock.lock().unwrap();
    let (told, lost) = channel();
    guard.on_lost(move || told.send(()).unwrap()).unwrap();
    server.stop(Signal::SIGINT);
    assert_eq!(store.allocate("").unwrap_err().kind(), ErrorKind::Unreachable);
    server.run();
    lost.recv_timeout(LONG).expect("the owner is told");
    assert!(guard.check().unwrap_err().is_lost());
    let token = guard.token().unwrap();
    assert!(guard.unlock().unwrap_err().is_lost());
    assert_eq!(store.named("a name").unwrap().id(), lock.id());
    let next = lock.lock().unwrap();
    let death = next.recovered().expect("the owner lost its session");
    assert_eq!(death.cause, Cause::SessionEnded);
    assert_eq!(death.holder.as_ref().map(|holder| holder.pid), Some(std::process::id()));
    assert!(next.token().unwrap() > token);
}

#[test]
fn a_crash_of_the_server_is_reported_for_all_locks_that_were_used_before() {
    let server = server!("");
    let store = open(&server.url("a")).unwrap();
    let (held, used, unused) = (store.allocate("").unwrap(), store.allocate("").unwrap(), store.allocate("").unwrap());
    let guard = held.lock().unwrap();
    let token = used.lock().unwrap().token().unwrap();
    server.stop(Signal::SIGQUIT);
    server.run();
    wait_until("the owner loses the lock", || guard.check().is_err_and(|error| error.is_lost()));
    assert!(guard.unlock().unwrap_err().is_lost());
    for lock in [&held, &used, &unused] {
        let next = lock.lock().unwrap();
        let death = next.recovered().expect("the records of owners are gone");
        assert_eq!((death.cause, &death.holder), (Cause::SessionEnded, &None));
        assert!(next.token().unwrap() > token);
    }
    // Its first owner can only have come after the crash.
    let new = store.allocate("").unwrap();
    assert!(new.lock().unwrap().recovered().is_none());
    let mut repaired = held.lock().unwrap();
    repaired.mark_consistent().unwrap();
    drop(repaired);
    assert!(held.lock().unwrap().recovered().is_none());
}

#[test]
fn an_administrator_ends_the_session_of_an_owner() {
    let server = server!("");
    let store = open(&server.url("a")).unwrap();
    let lock = store.allocate("").unwrap();
    let guard = lock.lock().unwrap();
    let (told, lost) = channel();
    guard.on_lost(move || told.send(()).unwrap()).unwrap();
    assert_eq!(terminate(&server, SESSIONS), "1");
    assert!(guard.check().unwrap_err().is_lost());
    lost.recv_timeout(LONG).expect("the owner is told");
    assert_eq!(guard.valid_for().unwrap_err().kind(), ErrorKind::Lost);
    let next = lock.try_lock_for(LONG).unwrap_err();
    assert!(next.is_already_held(), "the lost guard still exists: {next}");
    drop(guard);
    let next = lock.try_lock_for(LONG).unwrap();
    assert_eq!(next.recovered().map(|death| death.cause), Some(Cause::SessionEnded));
}

#[test]
fn an_administrator_ends_the_session_of_a_waiter() {
    let server = server!("");
    // Different options, so that the two have different sessions.
    let (owners, waiters) = (open(&server.url("a")).unwrap(), open(&(server.url("a") + "&ttl=9s")).unwrap());
    let lock = owners.allocate("").unwrap();
    let guard = lock.lock().unwrap();
    let same = waiters.retrieve(lock.id()).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| same.try_lock_for(LONG).unwrap().token());
        let is_queued = || server.must("select count(*) from lock_store.waiter") == "1";
        wait_until("the waiter waits", is_queued);
        let ended = terminate(&server, "pid in (select pid from pg_stat_activity where query like '%survey%')");
        assert_eq!(ended, "1", "{}", server.must("select pid, state, query from pg_stat_activity"));
        wait_until("the waiter waits in another session", || {
            server.must("select max(session) > 2 from lock_store.waiter") == "t"
        });
        let token = guard.token();
        guard.unlock().unwrap();
        assert!(waiter.join().unwrap() > token);
    });
    assert_eq!(owners.held().unwrap(), []);
}

#[test]
fn exhausted_connections_are_a_limit() {
    let server = server!("");
    open(&server.url("a")).unwrap();
    server.must("create role few login connection limit 1");
    grant(&server, "few");
    let url = server.url("a").replace("locks@", "few@");
    let one = open(&url).unwrap();
    let lock = one.allocate("").unwrap();
    // The session takes over the only connection.
    let guard = lock.lock().unwrap();
    let error = one.allocate("").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    guard.unlock().unwrap();
}

#[test]
fn an_exhausted_lock_table_is_a_limit_and_loses_no_lock() {
    let server = server!("max_connections = 10\nmax_locks_per_transaction = 10\nmax_worker_processes = 0\nmax_wal_senders = 0");
    let store = open(&(server.url("a") + "&max-held=1000000")).unwrap();
    let mut guards = Vec::new();
    let error = loop {
        assert!(guards.len() < 100_000, "the lock table has no end");
        match store.allocate("").and_then(|lock| lock.lock_owned()) {
            Ok(guard) => guards.push(guard),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("max_locks_per_transaction"), "{error}");
    // Statements need locks of the table, too.
    drop(guards.split_off(guards.len() - 20));
    for guard in guards {
        guard.check().unwrap();
        guard.unlock().unwrap();
    }
}

#[test]
fn a_process_holds_at_most_as_many_locks_as_the_option_allows() {
    let server = server!("");
    let store = open(&(server.url("a") + "&max-held=3")).unwrap();
    let guards: Vec<_> = (0..3).map(|_| store.allocate("").unwrap().lock_owned().unwrap()).collect();
    let lock = store.allocate("").unwrap();
    let error = lock.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("max-held"), "{error}");
    drop(guards);
    lock.lock().unwrap().unlock().unwrap();
}

#[test]
fn a_user_without_rights_is_denied_and_one_with_the_documented_rights_is_not() {
    let server = server!("");
    server.must("create role web login");
    let url = server.url("a").replace("locks@", "web@");
    let (kind, text) = refusal(&url);
    assert_eq!(kind, ErrorKind::Denied, "{text}");
    let administrator: StoreUrl = server.url("a").parse().unwrap();
    lock_postgres::migrate(&administrator).unwrap();
    lock_postgres::migrate(&administrator).unwrap();
    let (kind, text) = refusal(&url);
    assert_eq!(kind, ErrorKind::Denied, "{text}");
    grant(&server, "web");
    let store = open(&url).unwrap();
    let lock = store.named("a name").unwrap();
    let guard = lock.lock().unwrap();
    // Another user sees the holder.
    let others = open_as(&server.url("a"), OpenMode::Open).unwrap();
    let held = others.held().unwrap();
    assert_eq!(held[0].holder.as_ref().map(|holder| holder.pid), Some(std::process::id()));
    let error = others.retrieve(lock.id()).unwrap().try_lock_for(Duration::from_millis(1)).unwrap_err();
    assert!(error.is_timed_out() && error.holder().is_some(), "{error}");
    guard.unlock().unwrap();
    store.destroy().unwrap();
}

#[test]
fn a_password_is_asked_for_checked_and_found_in_a_file() {
    let server = server!("");
    server.must("create role web login superuser password 'the password'");
    server.set_hba("local all locks trust\nlocal all all scram-sha-256\n");
    let url = server.url("a").replace("locks@", "web@");
    wait_until("the server asks for a password", || server.query_as("web", "postgres", "select 1").is_err());
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("passwords");
    let with_file = format!("{url}&passfile={}", file.display());
    let write = |text: &str| {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    };
    write("*:*:*:you:the password\n");
    let (kind, text) = refusal(&with_file);
    assert!(kind == ErrorKind::Denied && text.contains("no line for the user web"), "{text}");
    write("*:*:*:web:another password\n");
    let (kind, text) = refusal(&with_file);
    assert!(kind == ErrorKind::Denied && text.contains("28P01"), "{text}");
    write("*:*:*:web:the password\n");
    open(&with_file).unwrap().allocate("").unwrap().lock().unwrap().unlock().unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(refusal(&with_file).0, ErrorKind::Untrusted);
    server.must("alter role web password null");
    server.must("set password_encryption = 'md5'; alter role web password 'the password'");
    server.set_hba("local all locks trust\nlocal all all md5\n");
    write("*:*:*:web:the password\n");
    wait_until("the server accepts the old hash", || open(&with_file).is_ok());
}

#[test]
fn an_address_without_a_server_is_unreachable() {
    for (address, hint) in [
        ("postgres://me@localhost:1/db", "localhost:1"),
        ("postgres://me@no-such-host.invalid/db?sslmode=disable", "no-such-host.invalid"),
        ("postgres://me@/db?host=/nowhere", "/nowhere/.s.PGSQL.5432"),
    ] {
        let (kind, text) = refusal(address);
        assert!(kind == ErrorKind::Unreachable && text.contains(hint), "{kind:?} {text}");
    }
}

#[test]
fn a_database_that_does_not_exist_is_absent() {
    let server = server!("");
    let (kind, text) = refusal(&server.url("a").replace("/postgres?", "/nothing?"));
    assert!(kind == ErrorKind::Absent && text.contains("createdb"), "{text}");
    let error = open_as(&server.url("a"), OpenMode::Open).unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("lock_store"), "{error}");
}

#[test]
fn a_server_that_does_not_answer_is_unreachable_in_time() {
    let server = server!("");
    let store = open(&(server.url("a") + "&timeout=300ms")).unwrap();
    // The server's processes go on to exist, but none of them answers.
    let pid = server.must("select pid from pg_stat_activity where application_name = 'lock-postgres'").parse().unwrap();
    let process = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(process, Signal::SIGSTOP).unwrap();
    let error = store.allocate("").unwrap_err();
    nix::sys::signal::kill(process, Signal::SIGCONT).unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    store.allocate("").unwrap().free().unwrap();
}

#[test]
fn a_pooler_is_refused() {
    let server = server!("");
    let pgbouncer = std::path::Path::new("/usr/sbin/pgbouncer");
    if !pgbouncer.exists() {
        return eprintln!("skipped: this machine lacks: pgbouncer");
    }
    let directory = server.directory();
    let (settings, users) = (directory.join("pgbouncer.ini"), directory.join("users"));
    fs::write(&users, "\"locks\" \"\"\n").unwrap();
    fs::write(
        &settings,
        format!(
            "[databases]\npostgres = host={0} port={1}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {0}\nlisten_port = 1\n\
             auth_type = trust\nauth_file = {2}\npool_mode = transaction\n",
            directory.display(),
            server.port(),
            users.display()
        ),
    )
    .unwrap();
    let mut command = Postgres::command_of(pgbouncer);
    let mut pooler = command.arg(&settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the pooler listens", || directory.join(".s.PGSQL.1").exists());
    let url = format!("postgres://locks@:1/postgres?host={}&pool=a", directory.display());
    let (kind, text) = refusal(&url);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pooler.id().cast_signed()), Signal::SIGTERM).unwrap();
    pooler.wait().unwrap();
    assert!(kind == ErrorKind::Unsupported && text.contains("pooler"), "{text}");
}

#[test]
fn a_schema_of_another_version_is_refused() {
    let server = server!("");
    open(&server.url("a")).unwrap();
    server.must("update lock_store.meta set version = 2");
    let (kind, text) = refusal(&server.url("a"));
    assert!(kind == ErrorKind::OtherVersion && text.contains("version 2"), "{text}");
    let url: StoreUrl = server.url("a").parse().unwrap();
    assert_eq!(lock_postgres::migrate(&url).unwrap_err().kind(), ErrorKind::OtherVersion);
}

#[test]
fn a_standby_is_refused() {
    let server = server!("");
    let url = server.url("a");
    open(&url).unwrap();
    server.stop(Signal::SIGINT);
    fs::write(server.directory().join("data/standby.signal"), "").unwrap();
    server.run();
    let (kind, text) = refusal(&url);
    assert!(kind == ErrorKind::Unsupported && text.contains("standby"), "{text}");
}

#[test]
fn a_destroyed_store_is_told_and_its_handles_exclude_each_other() {
    let server = server!("");
    // Different options, so that the two have different sessions.
    let stores = [open(&server.url("a")).unwrap(), open(&(server.url("a") + "&ttl=9s")).unwrap()];
    let lock = stores[0].allocate("").unwrap();
    let same = stores[1].retrieve(lock.id()).unwrap();
    let guard = lock.lock().unwrap();
    stores[0].destroy().unwrap();
    assert!(same.try_lock().unwrap().is_none());
    guard.check().unwrap();
    let before = guard.token();
    guard.unlock().unwrap();
    // The removal of another store removes what the destroyed one has left, as far as no lock is held.
    open(&server.url("b")).unwrap().destroy().unwrap();
    let guard = same.lock().unwrap();
    assert!(guard.token() > before);
    assert!(lock.try_lock().unwrap().is_none());
    let told = |expected: ErrorKind| {
        for store in &stores {
            assert_eq!(store.check().unwrap_err().kind(), expected);
            assert_eq!(store.allocate("").unwrap_err().kind(), expected);
            assert_eq!(store.named("a name").unwrap_err().kind(), expected);
            assert_eq!(store.free(0).unwrap_err().kind(), expected);
            assert_eq!(store.retrieve(0).unwrap_err().kind(), expected);
            assert_eq!(store.free_all().unwrap_err().kind(), expected);
            assert_eq!(store.destroy().unwrap_err().kind(), expected);
        }
    };
    told(ErrorKind::Destroyed);
    let next = open(&server.url("a")).unwrap();
    told(ErrorKind::Replaced);
    assert_ne!(next.id(), stores[0].id());
    let token = guard.token();
    guard.unlock().unwrap();
    assert!(next.allocate("").unwrap().lock().unwrap().token() > token);
}

#[test]
fn a_stranger_with_the_same_advisory_lock_makes_the_lock_busy() {
    let server = server!("");
    let store = open(&server.url("a")).unwrap();
    let lock = store.allocate("").unwrap();
    lock.lock().unwrap().unlock().unwrap();
    let hold = "select pg_advisory_lock(key, 0), pg_sleep(3600) from lock_store.pool";
    let mut psql = server.command("psql");
    psql.args(["-X", "-U", "locks", "-d", "postgres", "-c", hold, "-p", &server.port().to_string(), "-h"]);
    let mut stranger = psql.arg(server.directory()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the stranger has the lock", || {
        server.must("select count(*) from pg_locks where locktype = 'advisory' and classid <> 1279983616") == "1"
    });
    for _ in 0..3 {
        assert!(lock.try_lock().unwrap().is_none());
    }
    assert_eq!(lock.holder().unwrap(), None);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.try_lock_for(LONG).unwrap().recovered().cloned());
        wait_until("the waiter waits", || server.must("select count(*) from lock_store.waiter") == "1");
        server.must("select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(3600)%' and pid <> pg_backend_pid()");
        assert_eq!(waiter.join().unwrap(), None);
    });
    stranger.wait().unwrap();
}

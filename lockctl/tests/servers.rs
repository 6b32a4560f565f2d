//! Stores of etcd and PostgreSQL. Without the server a test is listed as ignored, with the reason.

use std::process::{Command, ExitCode, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use lock_servers::{Etcd, Postgres};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LOCKCTL: &str = env!("CARGO_BIN_EXE_lockctl");
/// After this time something that is waited for does not happen any more.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let trial = |name: &str, lacks: &Option<String>, run: fn() -> Result<(), Failed>| {
        Trial::test(name, run).with_kind(lacks.clone().unwrap_or_default()).with_ignored_flag(lacks.is_some())
    };
    let (etcd, postgres) = (Etcd::missing(), Postgres::missing());
    let trials = vec![
        trial("etcd::holders_are_named_with_their_host", &etcd, || holders_are_named_with_their_host(&Server::etcd()?)),
        trial("postgres::holders_are_named_with_their_host", &postgres, || {
            holders_are_named_with_their_host(&Server::postgres()?)
        }),
        trial("etcd::the_demo_recovers_each_death", &etcd, || the_demo_recovers_each_death(&Server::etcd()?, "etcd")),
        trial("postgres::the_demo_recovers_each_death", &postgres, || {
            the_demo_recovers_each_death(&Server::postgres()?, "postgres")
        }),
        trial("etcd::a_command_is_ended_before_its_lock_is_lost", &etcd, a_command_is_ended_before_its_lock_is_lost),
        trial("postgres::migrate_prepares_a_database", &postgres, migrate_prepares_a_database),
        trial("an_unreachable_server_is_an_error_with_its_address", &None, an_unreachable_server),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A server, with the URL of a store.
enum Server {
    Etcd(Etcd),
    Postgres(Postgres),
}

impl Server {
    fn etcd() -> Result<Self, Failed> {
        Ok(Self::Etcd(Etcd::start(&[])?))
    }

    fn postgres() -> Result<Self, Failed> {
        Ok(Self::Postgres(Postgres::start("")?))
    }

    fn url(&self) -> String {
        match self {
            Self::Etcd(server) => format!("etcd://{}/test?ttl=2s", server.address()),
            Self::Postgres(server) => format!("{}&ttl=2s", server.url("test")),
        }
    }
}

fn lockctl(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(LOCKCTL);
    command.env("LOCKCTL_STORE", url).args(arguments).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn holders_are_named_with_their_host(server: &Server) -> Result<(), Failed> {
    let url = server.url();
    let list = format!("{LOCKCTL} list");
    let output = lockctl(&url, &["run", "--name", "a name", "--", "sh", "-c", &list]).output()?;
    let (text, host) = (text(&output), nix::unistd::gethostname()?);
    assert!(output.status.success(), "{text}");
    for words in ["a name", "lockctl run --name", &host.to_string_lossy()] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    assert!(lockctl(&url, &["info"]).status()?.success());
    let output = lockctl(&url, &["run", "0", "--", LOCKCTL, "run", "-w", "0.1", "0", "--", "true"]).output()?;
    let text = self::text(&output);
    assert!(output.status.code() == Some(1) && text.contains(&format!("on {}", host.to_string_lossy())), "{text}");
    Ok(())
}

fn the_demo_recovers_each_death(server: &Server, scheme: &str) -> Result<(), Failed> {
    let output = lockctl(&server.url(), &["demo"]).output()?;
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    let row = text.lines().find(|line| line.split_whitespace().next() == Some(scheme)).expect("a row of the demo");
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!((cells[3], cells[5]), (cells[4], cells[6]), "{text}");
    assert_ne!(cells[5], "0", "no owner was killed: {text}");
    Ok(())
}

/// The server stops, and the command ignores SIGTERM, as its descendant does.
fn a_command_is_ended_before_its_lock_is_lost() -> Result<(), Failed> {
    let server = Etcd::start(&[])?;
    let (url, scratch) = (format!("etcd://{}/test?ttl=4s", server.address()), tempfile::tempdir()?);
    let script = "trap 'echo told >>$0' TERM; echo $$ >>$0; (trap '' TERM; echo $$ >>$0; while :; do sleep 0.1; done) & \
                  while :; do sleep 0.1; done";
    let log = scratch.path().join("log");
    let mut command = lockctl(&url, &["run", "0", "--", "sh", "-c", script]);
    let child = command.arg(&log).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    let begin = Instant::now();
    while lines().lines().count() < 2 {
        assert!(begin.elapsed() < PATIENCE, "the command does not start");
        thread::sleep(Duration::from_millis(10));
    }
    server.signal(Signal::SIGSTOP);
    let output = child.wait_with_output()?;
    server.signal(Signal::SIGCONT);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert!(text.contains("will be lost") && text.contains("the lock was lost"), "{text}");
    assert!(lines().contains("told"), "the command got no SIGTERM: {text}");
    for pid in lines().lines().filter_map(|line| line.parse().ok()) {
        assert!(kill(Pid::from_raw(pid), None).is_err(), "the process {pid} goes on: {text}");
    }
    Ok(())
}

fn migrate_prepares_a_database() -> Result<(), Failed> {
    let server = Postgres::start("")?;
    server.must("create role web login");
    let web = server.url("test").replace("locks@", "web@");
    let output = lockctl(&web, &["create"]).output()?;
    assert_eq!(output.status.code(), Some(77), "{}", text(&output));
    let output = lockctl(&server.url("test"), &["migrate"]).output()?;
    assert!(output.status.success(), "{}", text(&output));
    server.must(
        "grant usage on schema lock_store to web; grant select, insert, update, delete on all tables in schema lock_store to web; \
         grant usage on all sequences in schema lock_store to web",
    );
    let output = lockctl(&web, &["create"]).output()?;
    assert!(output.status.success(), "{}", text(&output));
    Ok(())
}

fn an_unreachable_server() -> Result<(), Failed> {
    for url in ["etcd://127.0.0.1:1/test", "postgres://locks@127.0.0.1:1/postgres"] {
        let output = lockctl(url, &["list"]).output()?;
        let text = text(&output);
        assert!(output.status.code() == Some(69) && text.contains("127.0.0.1:1 cannot be reached"), "{text}");
    }
    Ok(())
}

//! The servers that clients use, and what can happen to them.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use lock_servers::{Etcd, Postgres};
use nix::sys::signal::Signal;

use crate::fault::Fault;
use crate::random::Random;

/// The kind of servers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub(crate) enum Engine {
    /// One etcd server
    Etcd,
    /// A cluster of three etcd servers
    EtcdCluster,
    /// One PostgreSQL server
    Postgres,
}

pub(crate) enum Service {
    Etcd(Vec<Etcd>),
    Postgres(Postgres),
}

/// How long a server that was killed or stopped is away, at most.
const AWAY: Duration = Duration::from_millis(1500);

impl Service {
    /// Starts the servers, or returns what this machine lacks.
    pub(crate) fn start(engine: Engine, is_open: bool) -> Result<Self, String> {
        Ok(match engine {
            Engine::Etcd if is_open => Self::Etcd(vec![Etcd::start_open()?]),
            Engine::Etcd => Self::Etcd(vec![Etcd::start(&[])?]),
            Engine::EtcdCluster if is_open => {
                return Err("the members of a cluster listen on the loopback interface only".to_owned());
            }
            Engine::EtcdCluster => Self::Etcd(Etcd::start_cluster()?.into()),
            // With fsync, because a killed server must not forget.
            Engine::Postgres => {
                let addresses = if is_open { "listen_addresses = '*'" } else { "" };
                let server = Postgres::start(&format!("fsync = on\nmax_connections = 200\n{addresses}"))?;
                if is_open {
                    server.set_hba("local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all 10.99.0.0/16 trust\n");
                }
                Self::Postgres(server)
            }
        })
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Etcd(servers) => servers.iter().map(Etcd::address).collect(),
            Self::Postgres(server) => vec![server.address()],
        }
    }

    /// Returns the URL of the store by way of these addresses.
    pub(crate) fn url(&self, addresses: &[SocketAddr], ttl: Duration) -> String {
        let ttl = ttl.as_millis();
        match self {
            Self::Etcd(_) => {
                let list: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                format!("etcd://{}/faults?ttl={ttl}ms", list.join(","))
            }
            Self::Postgres(_) => format!("postgres://locks@{}/postgres?pool=faults&ttl={ttl}ms&sslmode=disable", addresses[0]),
        }
    }

    /// The faults of servers. They are rare, because they concern all clients.
    pub(crate) fn faults(&self) -> &'static [Fault] {
        match self {
            Self::Etcd(servers) if servers.len() > 1 => &[Fault::ServerKilled, Fault::ServerStopped, Fault::LeaderChanged],
            Self::Etcd(_) | Self::Postgres(_) => &[Fault::ServerKilled, Fault::ServerStopped],
        }
    }

    /// Returns true if after this fault the server may end a session that it had promised to keep.
    pub(crate) fn ends_sessions_early(&self, fault: Fault) -> bool {
        match (fault, self) {
            (Fault::SessionEnded, _) => true,
            // A session of PostgreSQL is a connection, and ends with it.
            (Fault::ConnectionsCut | Fault::ServerKilled, Self::Postgres(_)) => true,
            _ => false,
        }
    }

    /// Lets a fault of a server happen, and returns when it is over. Returns false if it could not happen.
    pub(crate) fn suffer(&mut self, fault: Fault, random: &mut Random) -> bool {
        let away = random.time(Duration::from_millis(50)..AWAY);
        match (fault, self) {
            (Fault::SessionEnded, Self::Postgres(server)) => server
                .query("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' order by random() limit 1")
                .is_ok_and(|ended| ended == "t"),
            (Fault::SessionEnded, Self::Etcd(servers)) => {
                let server = random.one_of(servers);
                let leases = server.etcdctl(&["lease", "list"]).unwrap_or_default();
                let leases: Vec<_> = leases.lines().skip(1).collect();
                !leases.is_empty() && server.etcdctl(&["lease", "revoke", random.one_of::<&str>(&leases)]).is_ok()
            }
            (Fault::ServerKilled, Self::Etcd(servers)) => {
                let killed = random.below(servers.len() as u64) as usize;
                servers[killed].kill();
                thread::sleep(away);
                servers[killed].start_again();
                true
            }
            (Fault::ServerKilled, Self::Postgres(server)) => {
                server.stop(*random.one_of(&[Signal::SIGQUIT, Signal::SIGINT]));
                thread::sleep(away);
                server.run();
                true
            }
            (Fault::ServerStopped, Self::Etcd(servers)) => {
                let server = random.one_of(servers);
                server.signal(Signal::SIGSTOP);
                thread::sleep(away);
                server.signal(Signal::SIGCONT);
                true
            }
            (Fault::ServerStopped, Self::Postgres(server)) => {
                // The process that accepts connections. Its sessions go on.
                server.signal(Signal::SIGSTOP);
                thread::sleep(away);
                server.signal(Signal::SIGCONT);
                true
            }
            (Fault::LeaderChanged, Self::Etcd(servers)) => {
                let all: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
                let status = servers[0].etcdctl(&["endpoint", "status", "--endpoints", &all.join(",")]).unwrap_or_default();
                let row = |line: &str| line.split(", ").map(str::to_owned).collect::<Vec<_>>();
                let members: Vec<_> = status.lines().map(row).filter(|row| row.len() > 4).collect();
                let Some(leader) = members.iter().find(|row| row[4] == "true") else { return false };
                let others: Vec<_> = members.iter().filter(|row| row[4] != "true").collect();
                if others.is_empty() {
                    return false;
                }
                let next = random.one_of(&others)[1].clone();
                servers[0].etcdctl(&["move-leader", &next, "--endpoints", &leader[0]]).is_ok()
            }
            _ => false,
        }
    }
}

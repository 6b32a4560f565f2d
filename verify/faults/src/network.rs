//! What is between a client and its servers.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::fault::Fault;
use crate::namespace::Namespace;
use crate::proxy::Proxy;

/// The network of a client.
pub(crate) enum Network {
    /// A proxy for each server.
    Proxies(Vec<Proxy>),
    /// A namespace, with the addresses of the servers.
    Namespace(Namespace, Vec<SocketAddr>),
}

/// How late data is when the network is slow.
const LATE: Duration = Duration::from_millis(100);

impl Network {
    pub(crate) fn of_proxies(servers: &[SocketAddr]) -> io::Result<Self> {
        servers.iter().map(|server| Proxy::to(*server)).collect::<io::Result<_>>().map(Self::Proxies)
    }

    pub(crate) fn of_namespace(client: usize, servers: &[SocketAddr]) -> io::Result<Self> {
        let namespace = Namespace::new(client)?;
        let addresses = servers.iter().map(|server| SocketAddr::from((namespace.gateway(), server.port()))).collect();
        Ok(Self::Namespace(namespace, addresses))
    }

    /// Returns the addresses of the servers for the client.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Proxies(proxies) => proxies.iter().map(Proxy::address).collect(),
            Self::Namespace(_, addresses) => addresses.clone(),
        }
    }

    /// Returns a command that executes a program in this network, which is the first argument.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Proxies(_) => Command::new("/usr/bin/env"),
            Self::Namespace(namespace, _) => namespace.command(),
        }
    }

    /// Returns true if the network can have this fault.
    pub(crate) fn can_have(&self, fault: Fault) -> bool {
        matches!(self, Self::Proxies(_)) || !matches!(fault, Fault::ConnectionsCut | Fault::NetworkSlow)
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        if let Self::Proxies(proxies) = self {
            proxies.iter().for_each(Proxy::cut);
        }
    }

    /// Lets nothing pass, or everything again.
    pub(crate) fn part(&self, is_parted: bool) {
        match self {
            Self::Proxies(proxies) => proxies.iter().for_each(|proxy| proxy.hold(is_parted)),
            Self::Namespace(namespace, _) => namespace.part(is_parted),
        }
    }

    /// Makes data late, or lets it pass at once again.
    pub(crate) fn slow_down(&self, is_slow: bool) {
        if let Self::Proxies(proxies) = self {
            proxies.iter().for_each(|proxy| proxy.delay(if is_slow { LATE } else { Duration::ZERO }));
        }
    }
}

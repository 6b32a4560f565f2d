//! The kinds of faults.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    /// A client is killed, and another one takes its place.
    ClientKilled,
    /// A client is stopped, for a shorter or a longer time than its session lasts.
    ClientStopped,
    /// The connections of a client are cut.
    ConnectionsCut,
    /// Nothing passes between a client and its servers for some time, and nobody is told.
    NetworkParted,
    /// Data between a client and its servers is late.
    NetworkSlow,
    /// The server ends the session of a client.
    SessionEnded,
    /// A server is killed and started again with its data.
    ServerKilled,
    /// A server is stopped for some time.
    ServerStopped,
    /// Another member of the cluster becomes the leader.
    LeaderChanged,
}

impl Fault {
    /// The faults of clients and their networks. They are frequent.
    pub(crate) const OF_CLIENTS: &'static [Self] = &[
        Self::ClientKilled,
        Self::ClientStopped,
        Self::ConnectionsCut,
        Self::NetworkParted,
        Self::NetworkSlow,
        Self::SessionEnded,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientKilled => "client killed",
            Self::ClientStopped => "client stopped",
            Self::ConnectionsCut => "connections cut",
            Self::NetworkParted => "network parted",
            Self::NetworkSlow => "network slow",
            Self::SessionEnded => "session ended by the server",
            Self::ServerKilled => "server killed and restarted",
            Self::ServerStopped => "server stopped",
            Self::LeaderChanged => "leader changed",
        })
    }
}

use std::fmt;
use std::path::{Path, PathBuf};

use lock_core::{Result, StoreUrl};
use nix::unistd::{User, geteuid};
use percent_encoding::percent_decode_str;

/// The directory of Unix sockets that a URL without a host means.
const SOCKETS: &str = "/run/postgresql";

/// The port that a URL without a port means.
const PORT: u16 = 5432;

/// The address of a database, and the user who connects to it.
///
/// It is displayed as in messages, `PostgreSQL at web1:5432`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Server {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
}

/// The host of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    /// A name or an address, for TCP.
    Name(String),
    /// The directory of a Unix socket.
    Directory(PathBuf),
}

impl Server {
    /// Reads the part of a URL before its options, `//USER@HOST:PORT/DATABASE`. `host` is the option, which replaces an empty host.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl).
    pub(crate) fn of_url(url: &StoreUrl, host: Option<String>) -> Result<Self> {
        let bad = |reason: &str| url.error(format!("{reason}; write postgres://USER@HOST:PORT/DATABASE?pool=NAME"));
        let text = url.as_str();
        let text = text.split_once(':').map_or(text, |(_, rest)| rest);
        let text = text.split_once('?').map_or(text, |(location, _)| location);
        let text = text.strip_prefix("//").ok_or_else(|| bad("two slashes must follow the scheme"))?;
        let (authority, database) = text.split_once('/').unwrap_or((text, ""));
        let (user, address) = authority.rsplit_once('@').map_or((None, authority), |(user, address)| (Some(user), address));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(url.error(
                "it contains a password, which others can see in lists of processes and in messages; \
                 use the variable PGPASSWORD or a password file",
            ));
        }
        let (name, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, port)) => (name, Some(port.strip_prefix(':').ok_or_else(|| bad("the port has no colon"))?)),
            None => address.rsplit_once(':').map_or((address, None), |(name, port)| (name, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad("the port is not a number from 0 to 65535"))?,
            None => PORT,
        };
        let decode =
            |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| bad("a part of it is not UTF-8"));
        let name = match (decode(name)?, host) {
            (name, Some(_)) if !name.is_empty() => return Err(bad("it contains two hosts, one of them in the option host")),
            (_, Some(host)) => host,
            (name, None) => name,
        };
        let host = match name.as_str() {
            "" => Host::Directory(SOCKETS.into()),
            path if path.starts_with('/') => Host::Directory(path.into()),
            _ => Host::Name(name),
        };
        let user = match user {
            Some(user) if !user.is_empty() => decode(user)?,
            _ => {
                let own = User::from_uid(geteuid()).ok().flatten();
                own.ok_or_else(|| bad("it names no user, and the user of this process has no name"))?.name
            }
        };
        let database = match database {
            "" => user.clone(),
            database => decode(database)?,
        };
        Ok(Self { host, port, user, database })
    }

    /// Returns the path of the Unix socket, if the server has one.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        match &self.host {
            Host::Directory(directory) => Some(directory.join(format!(".s.PGSQL.{}", self.port))),
            Host::Name(_) => None,
        }
    }

    /// Returns true for the directory of sockets that needs no name, which password files call `localhost`.
    pub(crate) fn is_default_directory(&self) -> bool {
        matches!(&self.host, Host::Directory(directory) if directory == Path::new(SOCKETS))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) if name.contains(':') => write!(f, "PostgreSQL at [{name}]:{}", self.port),
            Host::Name(name) => write!(f, "PostgreSQL at {name}:{}", self.port),
            Host::Directory(directory) => write!(f, "PostgreSQL at {} port {}", directory.display(), self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn server(text: &str, host: Option<&str>) -> Result<Server> {
        Server::of_url(&text.parse()?, host.map(str::to_owned))
    }

    #[rstest]
    #[case("postgres://me@web1/locks", None, Host::Name("web1".into()), 5432, "me", "locks")]
    #[case("postgres://me@web1:6000/", None, Host::Name("web1".into()), 6000, "me", "me")]
    #[case("postgres://me@[::1]:6000/locks", None, Host::Name("::1".into()), 6000, "me", "locks")]
    #[case("postgres://me@[::1]/locks", None, Host::Name("::1".into()), 5432, "me", "locks")]
    #[case("postgres://a%40b@%2Frun%2Fpg/my%20db", None, Host::Directory("/run/pg".into()), 5432, "a@b", "my db")]
    #[case("postgres://me@/locks", None, Host::Directory(SOCKETS.into()), 5432, "me", "locks")]
    #[case("postgres://me@:6000/locks", Some("/run/pg"), Host::Directory("/run/pg".into()), 6000, "me", "locks")]
    #[case("postgres://me@/locks", Some("web1"), Host::Name("web1".into()), 5432, "me", "locks")]
    fn a_url_names_the_server(
        #[case] text: &str,
        #[case] option: Option<&str>,
        #[case] host: Host,
        #[case] port: u16,
        #[case] user: &str,
        #[case] database: &str,
    ) {
        let expected = Server { host, port, user: user.to_owned(), database: database.to_owned() };
        assert_eq!(server(text, option).unwrap(), expected);
    }

    #[rstest]
    #[case("postgres://me:secret@web1/locks", "PGPASSWORD")]
    #[case("postgres:locks", "two slashes")]
    #[case("postgres://me@web1:x/locks", "port")]
    #[case("postgres://me@[::1]6000/locks", "colon")]
    fn a_wrong_url_is_refused_with_the_right_form(#[case] text: &str, #[case] hint: &str) {
        let error = server(text, None).unwrap_err().to_string();
        assert!(error.contains(hint), "{error}");
    }

    #[test]
    fn a_second_host_is_refused() {
        assert!(server("postgres://me@web1/locks", Some("web2")).is_err());
    }
}

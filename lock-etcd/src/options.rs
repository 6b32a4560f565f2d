use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lock_core::{Error, Options, Result, StoreUrl};
use lock_session::{Timing, take_duration};
use lock_table::Bound;

use crate::client::{Client, Credentials, Encryption, Endpoint};

/// What a URL says: `etcd://HOST:PORT,HOST:PORT/PREFIX?OPTIONS`.
#[derive(Debug)]
pub(crate) struct EtcdOptions {
    pub(crate) client: Client,
    /// The start of all keys, with a slash at its start and none at its end.
    pub(crate) prefix: String,
    pub(crate) bound: Option<Bound>,
    pub(crate) timing: Timing,
}

const TIMEOUT: Duration = Duration::from_secs(3);
/// etcd grants no shorter lease with its default settings.
const LEAST_TTL: Duration = Duration::from_secs(2);
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);
/// The variable with the password.
const PASSWORD: &str = "ETCD_PASSWORD";

impl EtcdOptions {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl); [`ErrorKind::System`](lock_core::ErrorKind::System) when a file of the options
    /// cannot be read.
    pub(crate) fn parse(url: &StoreUrl) -> Result<Self> {
        let (endpoints, prefix) = location(url)?;
        let mut options = url.options();
        let bound = options.take("capacity")?;
        let timing = timing(url, &mut options)?;
        let timeout = take_duration(&mut options, "timeout")?.unwrap_or(TIMEOUT);
        if timeout < LEAST_TIMEOUT {
            return Err(url.error(format!("the option timeout is shorter than {LEAST_TIMEOUT:?}; give at least that")));
        }
        let credentials = credentials(url, &mut options)?;
        let encryption = encryption(url, &mut options)?;
        options.finish()?;
        Ok(Self { client: Client::new(endpoints, encryption, credentials, timeout), prefix, bound, timing })
    }
}

/// Reads the servers and the prefix.
fn location(url: &StoreUrl) -> Result<(Vec<Endpoint>, String)> {
    const FORM: &str = "write etcd://HOST:2379/PREFIX";
    let location = url.location().to_str().ok_or_else(|| url.error(format!("the location is not UTF-8; {FORM}")))?;
    let rest = location.strip_prefix("//").ok_or_else(|| url.error(format!("the URL names no server; {FORM}")))?;
    let (servers, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some((user, _)) = servers.rsplit_once('@') {
        let name = user.split(':').next().unwrap_or_default();
        // The message must not repeat a password.
        return Err(Error::bad_url(
            "etcd://…",
            format!(
                "the URL has a user before the server; give the option user={name}, and the password in {PASSWORD} or password-file=PATH"
            ),
        ));
    }
    let endpoints = servers.split(',').map(Endpoint::parse).collect::<Result<_, _>>().map_err(|reason| url.error(reason))?;
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() {
        return Err(url.error(format!("the URL has no prefix for the keys of the store; {FORM}")));
    }
    Ok((endpoints, format!("/{prefix}")))
}

fn timing(url: &StoreUrl, options: &mut Options<'_>) -> Result<Timing> {
    let Timing { ttl, margin } = Timing::take(options)?;
    if ttl < LEAST_TTL {
        return Err(url.error(format!(
            "the option ttl is shorter than {LEAST_TTL:?}, which is the shortest lease that etcd grants; give at least that"
        )));
    }
    if margin > ttl / 2 {
        return Err(
            url.error(format!("the option margin is longer than half of ttl, which is {ttl:?}; give at most {:?}", ttl / 2))
        );
    }
    Ok(Timing { ttl, margin })
}

fn credentials(url: &StoreUrl, options: &mut Options<'_>) -> Result<Option<Credentials>> {
    let (user, file) = (options.take::<String>("user")?, options.take::<PathBuf>("password-file")?);
    let Some(user) = user else {
        return match file {
            Some(_) => Err(url.error("the option password-file needs the option user=NAME")),
            None => Ok(None),
        };
    };
    let password = match &file {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| Error::system("read", error).at(path))?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
        None => std::env::var(PASSWORD).map_err(|_| {
            url.error(format!("the option user needs a password; set {PASSWORD}, or give the option password-file=PATH"))
        })?,
    };
    Ok(Some(Credentials { user, password }))
}

#[cfg(feature = "tls")]
fn encryption(url: &StoreUrl, options: &mut Options<'_>) -> Result<Encryption> {
    let tls = options.take::<String>("tls")?;
    let [ca, cert, key] = ["ca", "cert", "key"].map(|name| options.take::<PathBuf>(name));
    let (ca, cert, key) = (ca?, cert?, key?);
    match (tls.as_deref(), ca, cert, key) {
        (None | Some("off"), None, None, None) => Ok(Encryption::None),
        (None | Some("off"), ..) => Err(url.error("the options ca, cert and key need the option tls=on")),
        (Some("on"), Some(ca), cert, key) => {
            let client = match (&cert, &key) {
                (Some(cert), Some(key)) => Some((cert.as_path(), key.as_path())),
                (None, None) => None,
                _ => return Err(url.error("the options cert and key belong together; give both, or none")),
            };
            crate::client::Tls::new(&ca, client).map(Encryption::Tls).map_err(|reason| url.error(reason))
        }
        (Some("on"), None, ..) => Err(url.error(
            "the option tls=on needs ca=PATH, the certificates of the authorities that may sign the server's certificate",
        )),
        (Some(other), ..) => Err(url.error(format!("the option tls={other} is not known; give on or off"))),
    }
}

#[cfg(not(feature = "tls"))]
fn encryption(url: &StoreUrl, options: &mut Options<'_>) -> Result<Encryption> {
    match options.take::<String>("tls")?.as_deref() {
        None | Some("off") => Ok(Encryption::None),
        Some(_) => Err(url.error("this program has no TLS; build it with the feature tls of lock-etcd")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn parse(text: &str) -> Result<EtcdOptions> {
        EtcdOptions::parse(&text.parse()?)
    }

    #[test]
    fn a_url_names_servers_and_a_prefix() {
        let options = parse("etcd://a,b:7,[::1]/x/y/?ttl=3s").unwrap();
        assert_eq!(options.client.server(), "etcd at a:2379,b:7,[::1]:2379");
        assert_eq!(options.prefix, "/x/y");
        assert_eq!(options.timing, Timing { ttl: Duration::from_secs(3), margin: Duration::from_millis(600) });
    }

    #[rstest]
    #[case("etcd:x", "names no server")]
    #[case("etcd:/x", "names no server")]
    #[case("etcd://a", "no prefix")]
    #[case("etcd://a/", "no prefix")]
    #[case("etcd:///x", "not the address")]
    #[case("etcd://a,/x", "not the address")]
    #[case("etcd://a/x?ttl=1s", "shorter than 2s")]
    #[case("etcd://a/x?ttl=soon", "ttl=soon")]
    #[case("etcd://a/x?margin=6s", "half of ttl")]
    #[case("etcd://a/x?timeout=1ms", "shorter than 100ms")]
    #[case("etcd://a/x?capacity=0", "minimum is 1")]
    #[case("etcd://a/x?password-file=/x", "user=NAME")]
    #[case("etcd://a/x?color=red", "no option")]
    #[case("etcd://root:secret@a/x", "user=root")]
    fn a_wrong_url_is_refused_with_the_reason(#[case] url: &str, #[case] reason: &str) {
        let error = parse(url).unwrap_err();
        assert_eq!(error.kind(), lock_core::ErrorKind::BadUrl);
        assert!(error.to_string().contains(reason) && !error.to_string().contains("secret"), "{error}");
    }
}

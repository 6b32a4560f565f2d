use std::path::PathBuf;
use std::time::Duration;

use lock_core::{Result, StoreUrl};
use lock_session::{Timing, take_duration};
use lock_table::Bound;

use crate::server::Server;
use crate::tls::TlsOptions;

/// The shortest time to live of a session.
const SHORTEST: Duration = Duration::from_secs(1);

/// The URL of a store, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoreOptions {
    pub(crate) server: Server,
    /// The name of the pool.
    pub(crate) pool: String,
    /// The capacity of a new pool, or the required one of an existing pool.
    pub(crate) capacity: Option<Bound>,
    pub(crate) timing: Timing,
    /// The time limit of a statement.
    pub(crate) timeout: Duration,
    /// The maximum number of locks that a process holds at the same time.
    pub(crate) max_held: usize,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) tls: TlsOptions,
}

impl StoreOptions {
    /// Takes the options of a URL.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl).
    pub(crate) fn of_url(url: &StoreUrl) -> Result<Self> {
        let mut options = url.options();
        let host = options.take("host")?;
        let pool = options.take::<String>("pool")?.unwrap_or_else(|| "default".to_owned());
        let capacity = options.take("capacity")?;
        let timing = Timing::take(&mut options)?;
        let timeout = take_duration(&mut options, "timeout")?.unwrap_or(Duration::from_secs(3));
        let max_held = options.take("max-held")?.unwrap_or(1000);
        let password_file = options.take("passfile")?;
        let tls = TlsOptions::take(&mut options)?;
        options.finish()?;
        if timing.ttl < SHORTEST {
            return Err(url.error("the option ttl is less than 1s; a busy server may not answer in time; give at least 1s"));
        }
        if timing.margin >= timing.ttl {
            return Err(url.error("the option margin is not less than ttl; give less, for example a fifth of it"));
        }
        if timeout.is_zero() {
            return Err(url.error("the option timeout is 0, and no server answers in no time; give for example 3s"));
        }
        if pool.is_empty() || pool.len() > 200 || pool.contains(char::is_control) {
            return Err(url.error("the name of the pool is empty, longer than 200 bytes or has control characters; give another"));
        }
        let server = Server::of_url(url, host)?;
        Ok(Self { server, pool, capacity, timing, timeout, max_held, password_file, tls })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn options(query: &str) -> Result<StoreOptions> {
        StoreOptions::of_url(&format!("postgres://me@web1/locks?{query}").parse()?)
    }

    #[test]
    fn defaults_follow_the_time_to_live() {
        let options = options("ttl=30s").unwrap();
        assert_eq!(options.timing.ttl, Duration::from_secs(30));
        assert_eq!(options.timing.margin, Duration::from_secs(6));
        assert_eq!((options.pool.as_str(), options.capacity), ("default", None));
    }

    #[rstest]
    #[case("ttl=200ms", "ttl")]
    #[case("ttl=10", "ttl=10")]
    #[case("margin=10s", "margin")]
    #[case("timeout=0s", "timeout")]
    #[case("pool=", "pool")]
    #[case("capacity=0", "capacity")]
    #[case("max-held=many", "max-held")]
    #[case("password=x", "password")]
    fn a_wrong_option_is_named(#[case] query: &str, #[case] named: &str) {
        let error = options(query).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

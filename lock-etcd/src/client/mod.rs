//! A client of etcd's JSON gateway (`/v3/...`).
//!
//! Every request may be repeated, on the same server or on another one, when its answer is lost. So each transaction is written such that
//! its second execution changes nothing and tells what the first one did; [`Answer::repeated`] says that there may have been one.

mod connection;
mod endpoint;
mod error;
mod json;
mod kv;
mod lease;
mod probe;
mod range;
mod socket;
#[cfg(feature = "tls")]
mod tls;
mod txn;
mod watch;

use std::fmt;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Error, PerProcess, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use self::connection::Encryption;
use self::connection::{Connection, Head};
pub(crate) use self::endpoint::Endpoint;
use self::error::ServerError;
pub(crate) use self::kv::{KeyValue, prefix_end};
pub(crate) use self::range::{Found, Range};
#[cfg(feature = "tls")]
pub(crate) use self::tls::Tls;
pub(crate) use self::txn::{Outcome, Txn, compare, put};
pub(crate) use self::watch::{Event, Watch};

/// A client of one or more servers of a cluster.
#[derive(Debug)]
pub(crate) struct Client {
    endpoints: Vec<Endpoint>,
    encryption: Encryption,
    credentials: Option<Credentials>,
    timeout: Duration,
    state: PerProcess<State>,
}

/// The name and the password of a user.
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// What a process keeps between two requests. A forked child begins with nothing.
#[derive(Debug, Default)]
struct State {
    idle: Mutex<Vec<Connection>>,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
    /// True if any endpoint has answered.
    reached: AtomicBool,
    token: Mutex<Token>,
}

/// The token of the user.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Token {
    /// To be requested.
    #[default]
    Absent,
    /// The cluster has no users.
    NotNeeded,
    Known(String),
}

/// An answer, and whether the request may have been executed before.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    pub(crate) value: T,
    /// True if an earlier attempt was sent and its answer was lost.
    pub(crate) repeated: bool,
}

/// Why an attempt failed.
enum Failure {
    /// No connection was made, so that nothing was sent.
    NotSent(io::Error),
    /// The answer is unknown.
    NoAnswer(io::Error),
    /// The server answered with an error.
    Refused(ServerError),
}

/// Connections that a process keeps open when they are not in use.
const MAX_IDLE: usize = 16;

/// The pauses between attempts, when all endpoints have failed.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(250);

impl Client {
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        encryption: Encryption,
        credentials: Option<Credentials>,
        timeout: Duration,
    ) -> Self {
        Self { endpoints, encryption, credentials, timeout, state: PerProcess::new() }
    }

    /// Returns the servers, for messages.
    pub(crate) fn server(&self) -> String {
        let endpoints: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        format!("etcd at {}", endpoints.join(","))
    }

    /// Checks that the server is etcd 3.4 or newer, and returns its version.
    pub(crate) fn check_version(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Version {
            etcdserver: String,
        }
        let answer = self.exchange("GET", "/version", None, self.timeout, read_all)?;
        let not_etcd =
            |_| Error::unsupported(format!("the server at {} is not etcd; use the address of an etcd server", self.server()));
        let version: Version = serde_json::from_slice(&answer.value).map_err(not_etcd)?;
        let mut numbers = version.etcdserver.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        if (major, minor) < (3, 4) {
            let found = version.etcdserver;
            return Err(Error::unsupported(format!("{} has version {found}; version 3.4 or newer is required", self.server())));
        }
        Ok(version.etcdserver)
    }

    /// Sends a request and reads the answer.
    fn call<T: DeserializeOwned>(&self, path: &str, body: &Value, timeout: Duration) -> Result<Answer<T>, CallError> {
        let answer = self.exchange("POST", path, Some(body), timeout, read_all)?;
        let value = serde_json::from_slice(&answer.value).map_err(|error| {
            Error::unsupported(format!(
                "the answer of {} to {path} is not understood ({error}); use an etcd server",
                self.server()
            ))
        })?;
        Ok(Answer { value, repeated: answer.repeated })
    }

    /// Sends a request, and repeats it until a server answers or the time is over. `read` reads the body of the answer.
    fn exchange<T>(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
        read: impl Fn(&mut Connection) -> io::Result<T>,
    ) -> Result<Answer<T>, CallError>
    where
        T: Keep,
    {
        let state = self.state.get_or_try_init(|| Ok(State::default()))?;
        let deadline = Instant::now() + timeout;
        let text = body.map(Value::to_string).unwrap_or_default();
        let (mut repeated, mut failed, mut pause) = (false, 0, FIRST_PAUSE);
        let mut has_new_token = self.credentials.is_none();
        loop {
            let failure = match self.attempt(state, method, path, &text, failed, deadline, &read) {
                Ok(value) => return Ok(Answer { value, repeated }),
                Err(failure) => failure,
            };
            let is_round = (failed + 1) % self.endpoints.len() == 0;
            let is_over = match &failure {
                Failure::NotSent(_) => is_round && !state.reached.load(Relaxed),
                Failure::NoAnswer(error) => {
                    repeated = true;
                    self.mismatch(error).is_some() || self.refuses_protocol(state, error)
                }
                Failure::Refused(error) if error.is_expired_token() => {
                    *lock(&state.token) = Token::Absent;
                    // A token that was just issued is not refused.
                    std::mem::replace(&mut has_new_token, true)
                }
                Failure::Refused(error) => {
                    repeated |= error.may_have_happened();
                    !error.is_temporary()
                }
            };
            if is_over || Instant::now() + pause >= deadline {
                return Err(self.failed(state, failure));
            }
            failed += 1;
            if is_round {
                thread::sleep(pause);
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }

    /// Sends the request once. `failed` counts earlier attempts, each of which leads to the next endpoint.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    fn attempt<T: Keep>(
        &self,
        state: &State,
        method: &str,
        path: &str,
        body: &str,
        failed: usize,
        deadline: Instant,
        read: impl Fn(&mut Connection) -> io::Result<T>,
    ) -> Result<T, Failure> {
        let count = self.endpoints.len();
        let number = (state.preferred.load(Relaxed) + usize::from(failed > 0)) % count;
        state.preferred.store(number, Relaxed);
        // A server that does not answer leaves time for the others.
        let untried = count - failed.min(count - 1);
        let share = deadline.saturating_duration_since(Instant::now()) / u32::try_from(untried).unwrap_or(1);
        let deadline = Instant::now() + share;
        let kept = take_idle(state, number);
        let mut connection = match kept.filter(Connection::is_idle) {
            Some(connection) => connection,
            None => Connection::open(number, &self.endpoints[number], &self.encryption, deadline).map_err(Failure::NotSent)?,
        };
        connection.set_deadline(deadline);
        let token = self.token(state, &mut connection)?;
        let head = self.send(&mut connection, method, path, body, token.as_deref()).map_err(Failure::NoAnswer)?;
        state.reached.store(true, Relaxed);
        if head.status != 200 {
            let text = read_all(&mut connection).unwrap_or_default();
            keep(state, connection, &head);
            return Err(Failure::Refused(ServerError::parse(head.status, &text)));
        }
        let value = read(&mut connection).map_err(Failure::NoAnswer)?;
        Ok(value.keep(connection, |connection| keep(state, connection, &head)))
    }

    fn send(&self, connection: &mut Connection, method: &str, path: &str, body: &str, token: Option<&str>) -> io::Result<Head> {
        let endpoint = &self.endpoints[connection.endpoint];
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {endpoint}\r\n");
        if let Some(token) = token {
            request += &format!("Authorization: {token}\r\n");
        }
        if method == "POST" {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        connection.send(format!("{request}\r\n{body}").as_bytes())?;
        connection.head()
    }

    /// Returns the token of the user, which is requested if it is absent.
    fn token(&self, state: &State, connection: &mut Connection) -> Result<Option<String>, Failure> {
        #[derive(Deserialize)]
        struct Authenticated {
            token: String,
        }
        let Some(Credentials { user, password }) = &self.credentials else { return Ok(None) };
        match &*lock(&state.token) {
            Token::Absent => {}
            Token::NotNeeded => return Ok(None),
            Token::Known(token) => return Ok(Some(token.clone())),
        }
        let body = json!({"name": user, "password": password}).to_string();
        let head = self.send(connection, "POST", "/v3/auth/authenticate", &body, None).map_err(Failure::NotSent)?;
        let text = read_all(connection).map_err(Failure::NotSent)?;
        let token = match (head.status, serde_json::from_slice::<Authenticated>(&text)) {
            (200, Ok(Authenticated { token })) => Token::Known(token),
            _ => match ServerError::parse(head.status, &text) {
                error if error.has_no_users() => Token::NotNeeded,
                error => return Err(Failure::Refused(error)),
            },
        };
        *lock(&state.token) = token.clone();
        Ok(match token {
            Token::Known(token) => Some(token),
            _ => None,
        })
    }
}

/// The result of reading an answer: it decides whether the connection is free afterwards.
trait Keep: Sized {
    fn keep(self, connection: Connection, free: impl FnOnce(Connection)) -> Self;
}

impl Keep for Vec<u8> {
    fn keep(self, connection: Connection, free: impl FnOnce(Connection)) -> Self {
        free(connection);
        self
    }
}

/// Keeps a connection for later requests.
fn keep(state: &State, connection: Connection, head: &Head) {
    let mut idle = lock(&state.idle);
    if head.keeps_alive && idle.len() < MAX_IDLE {
        idle.push(connection);
    }
}

/// Takes the connection to this endpoint that was used last.
fn take_idle(state: &State, number: usize) -> Option<Connection> {
    let mut idle = lock(&state.idle);
    let position = idle.iter().rposition(|connection| connection.endpoint == number)?;
    Some(idle.remove(position))
}

fn read_all(connection: &mut Connection) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while connection.read_body(&mut body)? {}
    Ok(body)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error of the server, or another one.
pub(crate) enum CallError {
    Server(ServerError, Error),
    Other(Error),
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Server(_, error) | CallError::Other(error) => error,
        }
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

//! Errors of servers, and of the network to them.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use lock_core::{Error, ErrorKind};
use serde::Deserialize;

use super::{CallError, Client, Encryption, Failure, State, probe};

/// An error that a server answered: a code of gRPC and a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServerError {
    pub(super) code: u32,
    pub(super) message: String,
}

// https://grpc.github.io/grpc/core/md_doc_statuscodes.html
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const NOT_FOUND: u32 = 5;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// The code of answers that are not JSON.
const NOT_JSON: u32 = u32::MAX;

impl ServerError {
    /// Reads the body of an answer with an error.
    pub(super) fn parse(status: u16, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: String,
            code: u32,
        }
        match serde_json::from_slice::<Body>(body) {
            Ok(Body { error, code }) => Self { code, message: error },
            Err(_) => {
                let text = String::from_utf8_lossy(body);
                let line = text.lines().next().unwrap_or_default().trim();
                Self { code: NOT_JSON, message: format!("HTTP status {status} {line}") }
            }
        }
    }

    /// Returns true if another attempt can succeed.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self.code, UNAVAILABLE | DEADLINE_EXCEEDED) || self.message.contains("too many requests")
    }

    /// Returns true if the request may have been executed.
    pub(super) fn may_have_happened(&self) -> bool {
        matches!(self.code, UNAVAILABLE | DEADLINE_EXCEEDED)
    }

    /// Returns true if a token is needed, or another one than the present one.
    pub(super) fn is_expired_token(&self) -> bool {
        const TEXTS: [&str; 2] = ["revision of auth store is old", "user name is empty"];
        self.code == UNAUTHENTICATED || TEXTS.iter().any(|text| self.message.contains(text))
    }

    pub(super) fn has_no_users(&self) -> bool {
        self.code == FAILED_PRECONDITION && self.message.contains("authentication is not enabled")
    }

    /// Returns true if the lease of a request does not exist, or no longer.
    pub(super) fn is_lease_not_found(&self) -> bool {
        self.code == NOT_FOUND && self.message.contains("lease not found")
    }

    pub(super) fn is_lease_exists(&self) -> bool {
        self.code == FAILED_PRECONDITION && self.message.contains("lease already exists")
    }
}

impl Client {
    /// Converts the failure of the last attempt.
    pub(super) fn failed(&self, state: &State, failure: Failure) -> CallError {
        match failure {
            Failure::NoAnswer(error) if self.refuses_protocol(state, &error) => CallError::Other(self.other_protocol()),
            Failure::NotSent(error) | Failure::NoAnswer(error) => {
                CallError::Other(self.mismatch(&error).unwrap_or_else(|| self.no_answer(error)))
            }
            Failure::Refused(error) => {
                let typed = self.refused(&error);
                CallError::Server(error, typed)
            }
        }
    }

    /// Returns true if the server, which never answered yet, closes connections because one side uses TLS and the other does not.
    pub(super) fn refuses_protocol(&self, state: &State, error: &io::Error) -> bool {
        let is_closed = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
        if !is_closed || state.reached.load(Relaxed) {
            return false;
        }
        let endpoint = &self.endpoints[state.preferred.load(Relaxed)];
        match &self.encryption {
            Encryption::None => probe::speaks_tls(endpoint),
            #[cfg(feature = "tls")]
            Encryption::Tls(_) => probe::speaks_http(endpoint),
        }
    }

    /// Converts an error of the network, or a limit of this process or machine.
    fn no_answer(&self, error: io::Error) -> Error {
        let text = reason(&error);
        match Error::system("socket", error) {
            limit if limit.kind() == ErrorKind::Limit => limit,
            _ => Error::unreachable(self.server(), text),
        }
    }

    fn other_protocol(&self) -> Error {
        match &self.encryption {
            Encryption::None => Error::denied(self.server(), "it uses TLS; add the options tls=on and ca=PATH"),
            #[cfg(feature = "tls")]
            Encryption::Tls(_) => Error::denied(self.server(), "it does not use TLS; remove the option tls=on"),
        }
    }

    /// Returns the error if one side uses TLS and the other does not, or if a certificate is not accepted.
    pub(super) fn mismatch(&self, error: &io::Error) -> Option<Error> {
        if error.kind() != io::ErrorKind::InvalidData {
            return None;
        }
        Some(match &self.encryption {
            Encryption::None => {
                Error::unsupported(format!("{} does not speak HTTP ({error}); use the address of an etcd server", self.server()))
            }
            #[cfg(feature = "tls")]
            Encryption::Tls(_) => Error::denied(
                self.server(),
                format!(
                    "no TLS connection is possible: {error}; remove tls=on if the server has no TLS, or check ca=, cert= and key="
                ),
            ),
        })
    }

    /// Converts an error that a server answered.
    fn refused(&self, error: &ServerError) -> Error {
        let (server, message) = (self.server(), &error.message);
        let denied = |advice: &str| Error::denied(server.clone(), format!("{message}; {advice}"));
        let limit = |advice: &str| Error::limit(format!("{advice} ({server})"), io::Error::other(message.clone()));
        match error.code {
            UNAUTHENTICATED => denied("check user= and the password"),
            PERMISSION_DENIED => denied("grant the user read and write access to the keys of the store"),
            INVALID_ARGUMENT if message.contains("authentication failed") => denied("check user= and the password"),
            INVALID_ARGUMENT if message.contains("user name is empty") => {
                denied("give the option user=NAME, and the password in ETCD_PASSWORD or password-file=PATH")
            }
            RESOURCE_EXHAUSTED if message.contains("database space exceeded") => limit(
                "the database of etcd is full; compact and defragment it, or raise --quota-backend-bytes, and clear the alarm with \
                 `etcdctl alarm disarm`",
            ),
            RESOURCE_EXHAUSTED => limit("etcd has too many requests to handle; retry later"),
            _ if message.contains("HTTP request to an HTTPS server") => denied("add the option tls=on"),
            NOT_JSON if message.contains("404") => {
                Error::unsupported(format!("{server} has no JSON gateway of version 3 ({message}); use etcd 3.4 or newer"))
            }
            NOT_JSON => Error::unreachable(server, message.clone()),
            UNAVAILABLE | DEADLINE_EXCEEDED => Error::unreachable(server, message.clone()),
            _ if message.contains("lease not found") => Error::lost(),
            _ if message.contains("too many operations") => {
                limit("etcd allows fewer operations in a transaction than this store needs; set --max-txn-ops to 128 or more")
            }
            code => Error::unsupported(format!("{server} refused the request: {message} (code {code})")),
        }
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer within the time limit".to_owned(),
        io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        _ => error.to_string(),
    }
}

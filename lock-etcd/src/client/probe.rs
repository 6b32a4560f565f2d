//! Finds out whether a server that closes connections without an answer uses TLS.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::socket::Socket;

/// The time limit of a probe.
const LIMIT: Duration = Duration::from_secs(1);

/// A TLS record with an incomplete greeting, which a server with TLS answers with an alert (RFC 8446, 5.1).
const GREETING: [u8; 10] = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
/// The type of a record with an alert.
const ALERT: u8 = 21;

/// Returns true if the server answers a greeting of TLS.
pub(super) fn speaks_tls(endpoint: &Endpoint) -> bool {
    answer(endpoint, &GREETING).is_some_and(|answer| answer[0] == ALERT)
}

/// Returns true if the server answers a request without TLS.
#[cfg(feature = "tls")]
pub(super) fn speaks_http(endpoint: &Endpoint) -> bool {
    answer(endpoint, b"GET /version HTTP/1.0\r\n\r\n").is_some_and(|answer| answer == *b"HTTP/")
}

fn answer(endpoint: &Endpoint, question: &[u8]) -> Option<[u8; 5]> {
    let mut socket = Socket::connect(endpoint, Instant::now() + LIMIT).ok()?;
    let mut answer = [0; 5];
    socket.write_all(question).and_then(|()| socket.read_exact(&mut answer)).ok().map(|()| answer)
}

//! HTTP/1.1 over one connection.
//!
//! Unlike a client library, it keeps a response stream usable after a read that reaches its deadline.

use std::io::{self, Read, Write};
use std::time::Instant;

use super::endpoint::Endpoint;
use super::socket::Socket;
#[cfg(feature = "tls")]
use super::tls::{Tls, TlsSocket};

/// How to encrypt connections.
#[derive(Clone, Debug)]
pub(crate) enum Encryption {
    /// No encryption.
    None,
    /// TLS.
    #[cfg(feature = "tls")]
    Tls(Tls),
}

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    /// The number of the endpoint.
    pub(super) endpoint: usize,
    /// Bytes that were read and not decoded yet.
    input: Vec<u8>,
    body: Body,
}

#[derive(Debug)]
enum Transport {
    Plain(Socket),
    #[cfg(feature = "tls")]
    Tls(Box<TlsSocket>),
}

/// The part of a response body that is still to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    Finished,
    Length(usize),
    /// Bytes of the current chunk, with the line end that follows them.
    Chunk(usize),
    /// The line with the length of the next chunk.
    ChunkLength,
    /// Lines after the last chunk, until an empty one.
    Trailer,
    UntilClosed,
}

/// The status line of a response, and the start of a body that is not HTTP.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    /// True if the connection can be used again after the body.
    pub(super) keeps_alive: bool,
}

/// A head that is longer than this is not one of etcd.
const MAX_HEAD: usize = 64 * 1024;

impl Connection {
    pub(super) fn open(number: usize, endpoint: &Endpoint, encryption: &Encryption, deadline: Instant) -> io::Result<Self> {
        let socket = Socket::connect(endpoint, deadline)?;
        let transport = match encryption {
            Encryption::None => Transport::Plain(socket),
            #[cfg(feature = "tls")]
            Encryption::Tls(tls) => Transport::Tls(Box::new(tls.connect(socket, endpoint)?)),
        };
        Ok(Self { transport, endpoint: number, input: Vec::new(), body: Body::Finished })
    }

    /// Returns true if a further request can be sent.
    pub(super) fn is_idle(&self) -> bool {
        self.body == Body::Finished && self.input.is_empty() && self.socket().is_idle()
    }

    fn socket(&self) -> &Socket {
        match &self.transport {
            Transport::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.socket(),
        }
    }

    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        match &mut self.transport {
            Transport::Plain(socket) => socket.set_deadline(deadline),
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.set_deadline(deadline),
        }
    }

    /// Sends a request with one write.
    pub(super) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.write_all(request),
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.write_all(request),
        }
    }

    /// Reads the head of a response.
    pub(super) fn head(&mut self) -> io::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&self.input).map_err(|error| invalid(format!("the answer is not HTTP ({error})")))?;
            if let httparse::Status::Complete(length) = parsed {
                let (head, body) = read_head(&response)?;
                self.body = body;
                self.input.drain(..length);
                return Ok(head);
            }
            if self.input.len() > MAX_HEAD {
                return Err(invalid("the head of the answer is too long".to_owned()));
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Appends the next part of the body to `part`. Returns false at the end of the body.
    ///
    /// After an error of kind `TimedOut` the call can be repeated.
    pub(super) fn read_body(&mut self, part: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match self.body {
                Body::Finished => return Ok(false),
                Body::Length(0) => self.body = Body::Finished,
                Body::Length(length) if !self.input.is_empty() => {
                    let taken = length.min(self.input.len());
                    part.extend(self.input.drain(..taken));
                    self.body = Body::Length(length - taken);
                    return Ok(true);
                }
                Body::UntilClosed if !self.input.is_empty() => {
                    part.append(&mut self.input);
                    return Ok(true);
                }
                Body::Chunk(length) if !self.input.is_empty() => {
                    let taken = length.min(self.input.len());
                    let rest = length - taken;
                    // The last two bytes of a chunk are its line end.
                    let data = taken.min(length.saturating_sub(2));
                    part.extend(self.input.drain(..taken).take(data));
                    self.body = if rest == 0 { Body::ChunkLength } else { Body::Chunk(rest) };
                    if data > 0 {
                        return Ok(true);
                    }
                }
                Body::ChunkLength | Body::Trailer if self.input.contains(&b'\n') => {
                    let end = self.input.iter().position(|byte| *byte == b'\n').unwrap_or_default();
                    let line: Vec<u8> = self.input.drain(..=end).collect();
                    let line = line.trim_ascii();
                    self.body = match self.body {
                        Body::Trailer if line.is_empty() => Body::Finished,
                        Body::Trailer => Body::Trailer,
                        _ => match chunk_length(line)? {
                            0 => Body::Trailer,
                            length => Body::Chunk(length + 2),
                        },
                    };
                }
                _ => match (self.fill()?, self.body) {
                    (0, Body::UntilClosed) => self.body = Body::Finished,
                    (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => {}
                },
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let length = match &mut self.transport {
            Transport::Plain(socket) => socket.read(&mut buffer),
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.read(&mut buffer),
        }?;
        self.input.extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

fn read_head(response: &httparse::Response<'_, '_>) -> io::Result<(Head, Body)> {
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let is_chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let body = match header("content-length") {
        _ if is_chunked => Body::ChunkLength,
        Some(length) => Body::Length(length.parse().map_err(|_| invalid(format!("the length {length:?} is not a number")))?),
        None => Body::UntilClosed,
    };
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let keeps_alive = response.version == Some(1) && !closes && body != Body::UntilClosed;
    Ok((Head { status: response.code.unwrap_or_default(), keeps_alive }, body))
}

fn chunk_length(line: &[u8]) -> io::Result<usize> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let length = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
    length.filter(|length| *length < 1 << 40).ok_or_else(|| invalid("the length of a chunk is not a number".to_owned()))
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

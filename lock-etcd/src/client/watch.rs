use std::io;
use std::time::Instant;

use lock_core::Result;
use serde::Deserialize;
use serde_json::{Value, json};

use super::json::encode;
use super::{Answer, Client, Connection, Keep};

/// A stream that tells of the removal of a key.
#[derive(Debug)]
pub(crate) struct Watch {
    connection: Option<Connection>,
    input: Vec<u8>,
}

/// What a watch tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    /// The key was removed.
    Removed,
    /// Nothing happened until the given time.
    Nothing,
    /// The stream has ended: the connection was cut, or the server does not go on with it.
    Ended,
}

#[derive(Deserialize)]
struct Line {
    result: Option<Message>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message {
    canceled: bool,
    events: Vec<Value>,
}

impl Client {
    /// Watches a key for its removal, from now on. The caller then looks whether the key is still there.
    ///
    /// A watch from an earlier revision on would get its events up to 100 ms late, because etcd reads the history in intervals.
    pub(crate) fn watch_removal(&self, key: &[u8]) -> Result<Watch> {
        let body = json!({"create_request": {"key": encode(key), "filters": ["NOPUT"]}});
        let read = |connection: &mut Connection| {
            let mut watch = Watch { connection: None, input: Vec::new() };
            loop {
                if let Some(line) = watch.line() {
                    let Line { result } = serde_json::from_slice(&line).map_err(io::Error::other)?;
                    let created = result.is_some_and(|message| !message.canceled);
                    return if created { Ok(watch) } else { Err(io::Error::other("the server refuses to watch")) };
                }
                if !connection.read_body(&mut watch.input)? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        let Answer { value, .. } = self.exchange("POST", "/v3/watch", Some(&body), self.timeout, read)?;
        Ok(value)
    }
}

impl Keep for Watch {
    fn keep(self, connection: Connection, _free: impl FnOnce(Connection)) -> Self {
        Self { connection: Some(connection), ..self }
    }
}

impl Watch {
    /// Waits until the key is removed, the stream ends, or the time is over.
    pub(crate) fn wait(&mut self, until: Instant) -> Event {
        loop {
            while let Some(line) = self.line() {
                match serde_json::from_slice(&line) {
                    Ok(Line { result: Some(Message { canceled: false, events }) }) if events.is_empty() => {}
                    Ok(Line { result: Some(Message { canceled: false, .. }) }) => return Event::Removed,
                    _ => return self.end(),
                }
            }
            let Some(connection) = &mut self.connection else { return Event::Ended };
            connection.set_deadline(until);
            match connection.read_body(&mut self.input) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Event::Nothing,
                Ok(false) | Err(_) => return self.end(),
            }
        }
    }

    /// Takes the next line from the input, without empty ones.
    fn line(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.input.iter().position(|byte| *byte == b'\n')?;
            let line: Vec<u8> = self.input.drain(..=end).collect();
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
    }

    fn end(&mut self) -> Event {
        self.connection = None;
        Event::Ended
    }
}

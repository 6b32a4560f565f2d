//! The resource that the locks protect: a number for each lock, which an owner reads, increases and writes back.
//!
//! It is kept twice. One copy accepts each write, so that an owner that lost its lock can undo the write of the next one. The other copy
//! refuses requests with a token that is less than the greatest that it has seen.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The resource, in the process that checks the histories.
#[derive(Clone, Default)]
pub(crate) struct Resource(Arc<Mutex<HashMap<u32, Numbers>>>);

/// The numbers of a lock.
#[derive(Clone, Copy, Default)]
struct Numbers {
    greatest_token: u64,
    refused: u64,
    /// The number and its accepted writes, without and with the check of the token.
    unchecked: (u64, u64),
    checked: (u64, u64),
}

/// What the resource has seen.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Totals {
    pub(crate) writes: u64,
    /// Updates that were overwritten, without and with the check of the token.
    pub(crate) lost_unchecked: u64,
    pub(crate) lost_checked: u64,
    /// Requests that the check refused.
    pub(crate) refused: u64,
}

impl Resource {
    /// Serves clients on a socket.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        let resource = Self::default();
        let (listener, served) = (UnixListener::bind(path)?, resource.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let served = served.clone();
                thread::spawn(move || served.serve(&client));
            }
        });
        Ok(resource)
    }

    /// Answers the requests of a client until it closes its socket.
    fn serve(&self, client: &UnixStream) {
        for line in BufReader::new(client).lines().map_while(Result::ok) {
            let words: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
            let answer = match words.as_slice() {
                [lock, token] => self.read(*lock as u32, *token),
                [lock, token, unchecked, checked] => self.write(*lock as u32, *token, *unchecked, *checked),
                _ => return,
            };
            let mut client = client;
            if client.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Answers with the two numbers.
    fn read(&self, lock: u32, token: u64) -> String {
        self.with(lock, |numbers| {
            if !numbers.accepts(token) {
                numbers.refused += 1;
            }
            format!("{} {}\n", numbers.unchecked.0, numbers.checked.0)
        })
    }

    /// Answers whether the copy with the check accepted its number.
    fn write(&self, lock: u32, token: u64, unchecked: u64, checked: u64) -> String {
        self.with(lock, |numbers| {
            numbers.unchecked = (unchecked, numbers.unchecked.1 + 1);
            let accepts = numbers.accepts(token);
            if accepts {
                numbers.checked = (checked, numbers.checked.1 + 1);
            } else {
                numbers.refused += 1;
            }
            format!("{}\n", u8::from(accepts))
        })
    }

    fn with<T>(&self, lock: u32, answer: impl FnOnce(&mut Numbers) -> T) -> T {
        answer(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(lock).or_default())
    }

    pub(crate) fn totals(&self) -> Totals {
        let numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.values().fold(Totals::default(), |totals, numbers| Totals {
            writes: totals.writes + numbers.unchecked.1,
            lost_unchecked: totals.lost_unchecked + numbers.unchecked.1 - numbers.unchecked.0,
            lost_checked: totals.lost_checked + numbers.checked.1 - numbers.checked.0,
            refused: totals.refused + numbers.refused,
        })
    }
}

impl Numbers {
    /// Checks a token, and remembers it.
    fn accepts(&mut self, token: u64) -> bool {
        let accepts = token >= self.greatest_token;
        self.greatest_token = self.greatest_token.max(token);
        accepts
    }
}

/// A client's connection to the resource.
pub(crate) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(UnixStream::connect(path)?)))
    }

    /// Reads the two numbers.
    pub(crate) fn read(&mut self, lock: u32, token: u64) -> io::Result<(u64, u64)> {
        let numbers = self.ask(format!("{lock} {token}\n"))?;
        match numbers.as_slice() {
            [unchecked, checked] => Ok((*unchecked, *checked)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Writes the two numbers. Returns whether the copy with the check accepted its number.
    pub(crate) fn write(&mut self, lock: u32, token: u64, (unchecked, checked): (u64, u64)) -> io::Result<bool> {
        Ok(self.ask(format!("{lock} {token} {unchecked} {checked}\n"))? == [1])
    }

    fn ask(&mut self, request: String) -> io::Result<Vec<u64>> {
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        Ok(answer.trim_end().split(' ').map_while(|word| word.parse().ok()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_check_keeps_an_earlier_owner_from_undoing_a_write() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("resource");
        let resource = Resource::listen(&path).unwrap();
        let (mut old, mut new) = (Connection::open(&path).unwrap(), Connection::open(&path).unwrap());
        let (unchecked, checked) = old.read(1, 7).unwrap();
        let numbers = new.read(1, 8).unwrap();
        assert!(new.write(1, 8, (numbers.0 + 1, numbers.1 + 1)).unwrap());
        assert!(!old.write(1, 7, (unchecked + 1, checked + 1)).unwrap());
        assert_eq!(resource.totals(), Totals { writes: 2, lost_unchecked: 1, lost_checked: 0, refused: 1 });
    }
}

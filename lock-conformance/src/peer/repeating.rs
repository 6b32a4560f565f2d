//! A thread of a peer repeats an operation, for cases about what an operation leaves behind or costs.

use std::time::{Duration, Instant};

use lock_core::{Error, ErrorKind, Result};
use nix::sys::stat::{Mode, umask};

use super::loops::number;
use super::reports::handle_of;
use super::worker::Worker;
use crate::protocol::Fields;

/// Time in which a thread waits many times.
const LONGEST: Duration = Duration::from_secs(5);

impl Worker {
    pub(super) fn repeat(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("umask", [mask]) => {
                let bits = u32::from_str_radix(mask, 8).expect("an octal number");
                umask(Mode::from_bits_truncate(bits));
                Ok(Fields::new())
            }
            ("open_many", [url, lock, count]) => self.open_many(url, lock, number(count)),
            ("retrieve_many", [lock, count]) => self.retrieve_many(lock, number(count)),
            ("lock_many", [lock, count]) => self.lock_many(lock, number(count)),
            ("time_out_many", [lock, count, span]) => self.time_out_many(lock, number(count), number(span) as u64),
            ("quickest_attempt", [lock, count, enough]) => self.quickest_attempt(lock, number(count), number(enough) as u64),
            _ => return None,
        })
    }

    /// Opens the store, retrieves a handle, acquires and releases its lock, and drops all that.
    fn open_many(&self, url: &str, lock: &str, count: usize) -> Result<Fields> {
        for _ in 0..count {
            handle_of(&self.open("open", url)?, lock)?.lock()?.unlock()?;
        }
        Ok(Fields::new())
    }

    /// Retrieves a handle, acquires and releases its lock, and drops the handle.
    fn retrieve_many(&self, lock: &str, count: usize) -> Result<Fields> {
        let store = self.store();
        for _ in 0..count {
            handle_of(&store, lock)?.lock()?.unlock()?;
        }
        Ok(Fields::new())
    }

    fn lock_many(&self, lock: &str, count: usize) -> Result<Fields> {
        let handle = self.handle(lock)?;
        for _ in 0..count {
            handle.lock()?.unlock()?;
        }
        Ok(Fields::new())
    }

    /// Waits for a lock that stays held, so many nanoseconds each time. Waits less often where each is much too long, which another case
    /// reports.
    fn time_out_many(&self, lock: &str, count: usize, span: u64) -> Result<Fields> {
        let (handle, began) = (self.handle(lock)?, Instant::now());
        for _ in 0..count {
            if began.elapsed() > LONGEST {
                break;
            }
            match handle.try_lock_for(Duration::from_nanos(span)) {
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut { .. }) => {}
                Ok(_) => return Err(Error::unsupported("the lock was granted, although it is held")),
                Err(error) => return Err(error),
            }
        }
        Ok(Fields::new())
    }

    /// Tries a lock that stays held, until an attempt takes no more than this many nanoseconds. Says how long the quickest took.
    fn quickest_attempt(&self, lock: &str, count: usize, enough: u64) -> Result<Fields> {
        let handle = self.handle(lock)?;
        let mut quickest = u128::MAX;
        for _ in 0..count {
            let began = Instant::now();
            let granted = handle.try_lock()?.is_some();
            assert!(!granted, "the lock was granted, although it is held");
            quickest = quickest.min(began.elapsed().as_nanos());
            if quickest <= u128::from(enough) {
                break;
            }
        }
        Ok(Fields::new().with("took", quickest))
    }
}

//! Commands that repeat an operation, for cases about its leaks and its costs.

use std::mem;
use std::process;
use std::time::{Duration, Instant};

use lock_core::{Error, ErrorKind, Lock, Result};
use nix::sys::stat::{Mode, umask};

use super::loops::number;
use super::reports::handle_of;
use super::worker::Worker;
use crate::protocol::Fields;
use crate::sys;
use crate::usage::SleepTimer;

/// Total time of repeated waits.
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
            ("until_changed", [count, verb, arguments @ ..]) => self.until_changed(number(count), verb, arguments),
            ("try_new_handles", [lock, count]) => self.try_new_handles(lock, number(count), drop),
            ("try_and_keep_handles", [lock, count]) => self.try_new_handles(lock, number(count), mem::forget),
            ("attempts_with_sleep", [lock, count, span]) => self.attempts_with_sleep(lock, number(count), number(span) as u64),
            ("late_time_outs", [lock, count, span, late]) => {
                self.late_time_outs(lock, number(count), number(span) as u64, number(late) as u64)
            }
            ("bytes_in_use", []) => Ok(sys::bytes_in_use().map_or_else(Fields::new, |bytes| Fields::new().with("bytes", bytes))),
            ("quickest_attempt", [lock, count, enough]) => self.quickest_attempt(lock, number(count), number(enough) as u64),
            _ => return None,
        })
    }

    /// Opens the store, retrieves a handle, acquires and releases its lock, and drops both.
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

    /// Waits repeatedly for a lock that stays held, with a timeout in nanoseconds.
    ///
    /// Waits less often if each wait is much too long, which another case reports.
    fn time_out_many(&self, lock: &str, count: usize, span: u64) -> Result<Fields> {
        let (handle, began) = (self.handle(lock)?, Instant::now());
        for _ in 0..count {
            if began.elapsed() > LONGEST {
                break;
            }
            match handle.try_lock_for(Duration::from_nanos(span)) {
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut) => {}
                Ok(_) => return Err(Error::unsupported("the lock was granted, although it is held")),
                Err(error) => return Err(error),
            }
        }
        Ok(Fields::new())
    }

    /// Repeats a command up to `count` times, until its answer differs from the first one.
    ///
    /// Answers the last answer.
    fn until_changed(&mut self, count: usize, verb: &str, arguments: &[&str]) -> Result<Fields> {
        let mut first = None;
        for _ in 0..count {
            let answer = self.answer_to(verb, arguments)?;
            if *first.get_or_insert_with(|| answer.clone()) != answer {
                return Ok(answer);
            }
        }
        Ok(first.unwrap_or_default())
    }

    /// Retrieves several handles and tries the lock by each of them. Counts successes and errors.
    fn try_new_handles(&self, lock: &str, count: usize, then: fn(Lock)) -> Result<Fields> {
        let (store, mut granted, mut busy, mut refused) = (self.store(), 0, 0, 0);
        for _ in 0..count {
            let Ok(handle) = handle_of(&store, lock) else {
                refused += 1;
                continue;
            };
            match handle.try_lock() {
                Ok(Some(guard)) => {
                    granted += 1;
                    refused += usize::from(guard.unlock().is_err());
                }
                Ok(None) => busy += 1,
                Err(_) => refused += 1,
            }
            then(handle);
        }
        Ok(Fields::new().with("granted", granted).with("busy_times", busy).with("refused", refused))
    }

    /// Tries a lock that stays held.
    ///
    /// Answers in how many attempts the process slept for at least this many nanoseconds.
    fn attempts_with_sleep(&self, lock: &str, count: usize, span: u64) -> Result<Fields> {
        let (handle, mut slept) = (self.handle(lock)?, 0);
        for _ in 0..count {
            let timer = SleepTimer::of_process(process::id());
            let granted = handle.try_lock()?.is_some();
            assert!(!granted, "the lock was granted, although it is held");
            slept += usize::from(timer.slept() >= Duration::from_nanos(span));
        }
        Ok(Fields::new().with("slept", slept))
    }

    /// Waits repeatedly for a lock that stays held, with a timeout in nanoseconds.
    ///
    /// Answers how many waits were `late` nanoseconds longer, and stops after the second of these. Time in which the process
    /// waits for a processor does not count.
    fn late_time_outs(&self, lock: &str, count: usize, span: u64, late: u64) -> Result<Fields> {
        let (handle, span, mut times) = (self.handle(lock)?, Duration::from_nanos(span), 0);
        for _ in 0..count {
            let (timer, began) = (SleepTimer::of_process(process::id()), Instant::now());
            match handle.try_lock_for(span) {
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut) => {}
                Ok(_) => return Err(Error::unsupported("the lock was granted, although it is held")),
                Err(error) => return Err(error),
            }
            let took = began.elapsed();
            if took < span {
                return Ok(Fields::new().with("early", took.as_nanos()).with("late", times));
            }
            times += usize::from(timer.slept() >= span + Duration::from_nanos(late));
            if times == 2 {
                break;
            }
        }
        Ok(Fields::new().with("late", times))
    }

    /// Tries a lock that stays held, until an attempt takes at most this many nanoseconds.
    ///
    /// Answers the shortest duration.
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

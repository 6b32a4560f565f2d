//! Commands that acquire and release locks.

use std::time::{Duration, Instant};

use lock_core::{Deadline, Deadlines, ErrorKind, Guard, Lock, Result, Token, lock_all};

use super::held_guard::HeldGuard;
use super::worker::Worker;
use crate::protocol::{Fields, list};
use crate::usage::monotonic_time;

impl Worker {
    pub(super) fn acquire_or_release(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("lock", [lock]) => self.acquire(lock, |worker| worker.handle(lock)?.lock().map(Some)),
            ("try_lock", [lock]) => self.acquire(lock, |worker| worker.handle(lock)?.try_lock()),
            ("find_busy", [lock]) => self.acquire(lock, |worker| worker.try_or_time_out(lock)),
            ("lock_for", [lock, span]) => {
                self.acquire(lock, |worker| worker.handle(lock)?.try_lock_for(duration(span)).map(Some))
            }
            ("lock_until", [lock, span]) => {
                self.acquire(lock, |worker| worker.handle(lock)?.try_lock_until(Instant::now() + duration(span)).map(Some))
            }
            ("lock_until_past", [lock, span]) => self.acquire(lock, |worker| {
                let past = Instant::now().checked_sub(duration(span)).expect("the machine has been up for longer");
                worker.handle(lock)?.try_lock_until(past).map(Some)
            }),
            // The handle is dropped before the guard, which has its own reference.
            ("lock_owned", [lock]) => self.acquire(lock, |worker| {
                let handle = worker.handle(lock)?.clone();
                handle.lock_owned().map(Some)
            }),
            ("try_lock_owned", [lock]) => self.acquire(lock, |worker| {
                let handle = worker.handle(lock)?.clone();
                handle.try_lock_owned()
            }),
            ("lock_all", locks) => self.acquire_all(locks, Deadline::Never),
            ("try_lock_all", locks) => self.acquire_all(locks, Deadline::Now),
            ("lock_range", [count]) => self.lock_range(0, count.parse().expect("a count")),
            ("lock_range", [first, end]) => self.lock_range(first.parse().expect("a number"), end.parse().expect("a number")),
            ("unlock", [lock]) => self.guard(lock).unlock().map(|()| Fields::new()),
            ("release", [lock]) => {
                drop(self.guard(lock));
                Ok(Fields::new())
            }
            ("holder", [lock]) => self.holder(lock),
            ("waiters", [lock]) => self.handle(lock).map(|lock| match lock.waiters() {
                Some(waiters) => Fields::new().with("waiters", waiters),
                None => Fields::new(),
            }),
            // Creates the handle if the peer has none.
            ("handle", [lock]) => self.handle(lock).map(|_| Fields::new()),
            ("stale", [lock]) => self.handle(lock).map(|lock| Fields::new().with("stale", lock.is_stale())),
            _ => return None,
        })
    }

    /// Acquires a lock if it is free.
    ///
    /// An attempt does not show whether the backend mistakes the calling thread for the owner. A wait is refused then, also one that
    /// times out immediately.
    fn try_or_time_out(&self, lock: &str) -> Result<Option<Guard<'static>>> {
        let handle = self.handle(lock)?;
        self.or_time_out(handle.try_lock()?, || handle.try_lock_for(Duration::ZERO))
    }

    /// Waits if the attempt has no guard and the backend has deadlines. The wait times out immediately.
    pub(super) fn or_time_out<G>(&self, attempt: Option<G>, wait: impl FnOnce() -> Result<G>) -> Result<Option<G>> {
        if attempt.is_some() || self.peer.suite.capabilities().deadlines == Deadlines::Unsupported {
            return Ok(attempt);
        }
        match wait() {
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut) => Ok(None),
            other => other.map(Some),
        }
    }

    pub(super) fn acquire(&mut self, lock: &str, take: impl FnOnce(&Self) -> Result<Option<Guard<'static>>>) -> Result<Fields> {
        let (guard, fields) = self.timed(take)?;
        if let Some(guard) = guard {
            self.guards.insert(lock.to_owned(), guard);
        }
        Ok(fields)
    }

    /// Acquires a lock, and answers the guard's report, the duration and the time.
    pub(super) fn timed<G: HeldGuard>(&mut self, take: impl FnOnce(&Self) -> Result<Option<G>>) -> Result<(Option<G>, Fields)> {
        self.begin();
        let began = Instant::now();
        let taken = take(self);
        let (took, at) = (began.elapsed().as_nanos(), monotonic_time().as_nanos());
        // The error of a time-out also reports the duration; see `Worker::run`.
        self.took = Some(took);
        let taken = taken?;
        let fields = match &taken {
            Some(guard) => death_report(guard).with("at", at),
            None => Fields::new().with("busy", ""),
        };
        Ok((taken, fields.with("took", took)))
    }

    fn acquire_all(&mut self, locks: &[&str], deadline: Deadline) -> Result<Fields> {
        self.begin();
        let handles = locks.iter().map(|lock| self.handle(lock)).collect::<Result<Vec<_>>>()?;
        let guards = lock_all(handles, deadline)?;
        let order = list(guards.iter().map(|guard| guard.lock().id().get()));
        let mut fields = Fields::new().with("ids", order);
        for (lock, guard) in locks.iter().zip(guards) {
            if let Some(death) = guard.recovered() {
                fields = fields.with(format!("dead_pid.{lock}"), death.holder.as_ref().map_or(0, |holder| holder.pid));
            }
            self.guards.insert((*lock).to_owned(), guard);
        }
        Ok(fields)
    }

    /// Locks all ids from `first` to `end` (exclusive), or as many as the limits allow.
    ///
    /// Answers the first id that is not locked.
    fn lock_range(&mut self, first: u32, end: u32) -> Result<Fields> {
        for id in first..end {
            let name = id.to_string();
            match self.handle(&name).and_then(Lock::lock) {
                Ok(guard) => drop(self.guards.insert(name, guard)),
                Err(error) if matches!(error.kind(), ErrorKind::Limit) => return Ok(Fields::new().with("held", id)),
                Err(error) => return Err(error),
            }
        }
        Ok(Fields::new().with("held", end))
    }

    pub(super) fn guard(&mut self, lock: &str) -> Guard<'static> {
        self.guards.remove(lock).unwrap_or_else(|| panic!("the thread {} has no guard of {lock}", self.name))
    }

    fn holder(&self, lock: &str) -> Result<Fields> {
        Ok(match self.handle(lock)?.holder()? {
            Some(holder) => Fields::new().with("pid", holder.pid).with("tid", holder.tid).with("command", &holder.command),
            None => Fields::new(),
        })
    }
}

/// Returns a guard's report of its acquisition.
pub(super) fn death_report(guard: &impl HeldGuard) -> Fields {
    let fields = Fields::new().with("token", guard.token().map_or(0, Token::get));
    match guard.recovered() {
        None => fields,
        Some(death) => {
            let fields = fields.with("cause", format_args!("{:?}", death.cause));
            match &death.holder {
                None => fields.with("death", "unknown"),
                Some(holder) => fields.with("death", holder).with("dead_pid", holder.pid).with("dead_tid", holder.tid),
            }
        }
    }
}

pub(super) fn duration(text: &str) -> Duration {
    if text == "max" {
        return Duration::MAX;
    }
    Duration::from_nanos(text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number of nanoseconds")))
}

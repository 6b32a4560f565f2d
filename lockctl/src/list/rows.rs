//! The locks of a store, read in parts and merged in the order of their ids.

use std::iter::Peekable;
use std::vec;

use lock_any::{Allocation, Breaking, HeldLock, LockId, Result, Store, UnresolvedDeath, Waiter};
use lock_proc::Lives;

use super::row::Row;
use crate::entries;
use crate::why::{Here, held_for};

/// The number of waiters of a lock whose sleep is examined for how long the lock is held. Reading it from `/proc` is slow.
const EXAMINED: usize = 4;

type Stream<T> = Peekable<Box<dyn Iterator<Item = Result<T>>>>;

/// An iterator over allocated and held locks, those for which threads wait, and those with a death that is not dealt with; only over the
/// allocated ones if the backend does not know the others.
pub(crate) struct Rows {
    allocated: Stream<Allocation>,
    /// `None` if the backend does not know.
    held: Option<Stream<HeldLock>>,
    deaths: Option<Stream<UnresolvedDeath>>,
    waiters: Option<Peekable<vec::IntoIter<Waiter>>>,
    /// Whether only held locks are returned.
    is_held_only: bool,
    /// Whether the lock of a dead owner stays held until it is broken.
    is_broken_explicitly: bool,
    lives: Lives,
    here: Here,
}

impl Rows {
    /// Begins to read the lists. With `is_held_only`, returns only held locks.
    ///
    /// # Errors
    /// Those of the lists, and with `is_held_only` also that the backend does not know which locks are held.
    pub(crate) fn of(store: &Store, is_held_only: bool) -> Result<Self> {
        let waits = entries::named_waits(store)?;
        let mut held: Stream<_> = boxed(store.iter_held());
        let held = if is_held_only { first(&mut held).map(|()| Some(held))? } else { supported(held)? };
        let mut allocated = boxed(store.iter_allocated());
        first(&mut allocated)?;
        Ok(Self {
            allocated,
            held,
            deaths: supported(boxed(store.iter_deaths()))?,
            waiters: waits.map(|waits| waits.waiters.into_iter().peekable()),
            is_held_only,
            is_broken_explicitly: store.capabilities().breaking == Breaking::Explicit,
            lives: Lives::new(),
            here: Here::new(),
        })
    }

    /// Returns whether the backend lists the held locks.
    pub(crate) fn knows_held(&self) -> bool {
        self.held.is_some()
    }

    /// Returns whether the backend lists the locks with a death that is not dealt with.
    pub(crate) fn knows_deaths(&self) -> bool {
        self.deaths.is_some()
    }

    /// Returns whether the backend names the waiting threads.
    pub(crate) fn names_waiters(&self) -> bool {
        self.waiters.is_some()
    }

    /// Returns the lowest id that is next in a list, or the error that is next.
    fn next_id(&mut self) -> Option<Result<LockId>> {
        fn peek<T>(stream: Option<&mut Stream<T>>, id: impl Fn(&T) -> LockId) -> Option<Result<LockId>> {
            let stream = stream?;
            match stream.peek()? {
                Ok(item) => Some(Ok(id(item))),
                Err(_) => stream.next()?.err().map(Err),
            }
        }
        let lists = [
            peek(Some(&mut self.allocated), |allocation| allocation.id),
            peek(self.held.as_mut(), |held| held.id),
            peek(self.deaths.as_mut(), |death| death.id),
            self.waiters.as_mut().and_then(Peekable::peek).map(|waiter| Ok(waiter.id)),
        ];
        lists.into_iter().flatten().reduce(|a, b| Ok(a?.min(b?)))
    }

    fn row(&mut self, id: LockId) -> Result<Row> {
        let mut row = Row::new(id);
        if let Some(allocation) = take(&mut self.allocated, |allocation| allocation.id == id)? {
            row.add_allocation(allocation);
            row.find_allocator(&mut self.lives);
        }
        if let Some(held) = &mut self.held {
            row.add_held(take(held, |held| held.id == id)?);
        }
        if let Some(deaths) = &mut self.deaths
            && let Some(mut death) = take(deaths, |death| death.id == id)?
        {
            // After `break`, the lock is free, and its dead owner is still recorded for the report.
            death.is_released |= self.is_broken_explicitly && row.held == Some(false);
            row.add_death(death);
        }
        if let Some(waiters) = &mut self.waiters {
            let waiting: Vec<_> = std::iter::from_fn(|| waiters.next_if(|waiter| waiter.id == id)).collect();
            add_waiters(&mut row, &waiting, &self.here);
        }
        Ok(row)
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = self.next_id()?.and_then(|id| self.row(id));
            if !self.is_held_only || row.as_ref().map_or(true, |row| row.held == Some(true)) {
                return Some(row);
            }
        }
    }
}

fn add_waiters(row: &mut Row, waiting: &[Waiter], here: &Here) {
    if waiting.is_empty() && row.held != Some(true) {
        return;
    }
    // A backend that counts the waiters may know more of them than it names.
    row.waiters = Some(row.waiters.unwrap_or_default().max(waiting.len() as u32));
    row.longest_wait = waiting.iter().filter_map(|waiter| waiter.waited).max();
    if row.held_for_at_least.is_none() && !waiting.is_empty() {
        let holder = row.holder.as_ref().and_then(|holder| here.thread(holder));
        row.held_for_at_least = holder.and_then(|holder| held_for(&holder, &waiting[..waiting.len().min(EXAMINED)], here));
    }
}

fn boxed<T>(items: impl Iterator<Item = Result<T>> + 'static) -> Stream<T> {
    (Box::new(items) as Box<dyn Iterator<Item = Result<T>>>).peekable()
}

/// Returns the error with which the stream begins.
fn first<T>(stream: &mut Stream<T>) -> Result<()> {
    stream.next_if(Result::is_err).map_or(Ok(()), |error| error.map(drop))
}

/// Returns the stream, or `None` if it begins with the error that the backend does not support the list.
fn supported<T>(mut stream: Stream<T>) -> Result<Option<Stream<T>>> {
    match first(&mut stream) {
        Ok(()) => Ok(Some(stream)),
        Err(error) if error.is_unsupported() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the next item if it is wanted.
fn take<T>(stream: &mut Stream<T>, is_wanted: impl Fn(&T) -> bool) -> Result<Option<T>> {
    stream.next_if(|item| item.as_ref().map_or(true, &is_wanted)).transpose()
}

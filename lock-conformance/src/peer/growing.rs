//! Commands that grow a store, or use a store while it grows.

use lock_core::Result;

use super::loops::shared;
use super::worker::{Worker, id_of};
use crate::arena::Arena;
use crate::protocol::Fields;

impl Worker {
    pub(super) fn grow_or_watch(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("grow", [arena, ids @ ..]) => self.grow(shared(arena), ids),
            ("take_each", [arena, ids @ ..]) => self.take_each(shared(arena), ids),
            ("open_until_told", [arena, url]) => self.open_until_told(shared(arena), url),
            ("check_until_told", [arena]) => self.check_until_told(shared(arena)),
            _ => return None,
        })
    }

    /// Acquires and releases each lock once, and then stops the other threads.
    fn grow(&self, arena: Arena, ids: &[&str]) -> Result<Fields> {
        let store = self.store();
        self.begin();
        arena.wait_for_go();
        let grown = ids.iter().try_for_each(|id| store.retrieve(id_of(id))?.lock()?.unlock());
        arena.stop();
        grown.map(|()| Fields::new())
    }

    /// Allocates each id.
    fn take_each(&self, arena: Arena, ids: &[&str]) -> Result<Fields> {
        let store = self.store();
        self.begin();
        arena.wait_for_go();
        ids.iter().try_for_each(|id| store.allocate_and_retrieve(id_of(id), "").map(drop))?;
        Ok(Fields::new())
    }

    /// Opens the store by its URL, lists its ids and closes it, at least once.
    fn open_until_told(&self, arena: Arena, url: &str) -> Result<Fields> {
        self.begin();
        arena.wait_for_go();
        let mut times = 0;
        while times == 0 || !arena.is_stopped() {
            let store = self.open("open", url)?;
            store.check()?;
            store.allocated()?;
            times += 1;
        }
        Ok(Fields::new().with("times", times))
    }

    /// Checks the open store and lists its ids, at least once.
    fn check_until_told(&self, arena: Arena) -> Result<Fields> {
        let store = self.store();
        self.begin();
        arena.wait_for_go();
        let mut times = 0;
        while times == 0 || !arena.is_stopped() {
            store.check()?;
            store.available()?;
            store.allocated()?;
            times += 1;
        }
        Ok(Fields::new().with("times", times))
    }
}

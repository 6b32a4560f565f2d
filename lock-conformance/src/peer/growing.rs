//! Commands that grow a store, or use a store while it grows.

use lock_core::{ErrorKind, Result};

use super::loops::{number, shared};
use super::store::facts;
use super::worker::{Worker, id_of};
use crate::protocol::Fields;
use crate::shared_memory::SharedMemory;

impl Worker {
    pub(super) fn grow_or_watch(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("grow", [memory, ids @ ..]) => self.grow(shared(memory), ids),
            ("raise", [capacity]) => {
                let store = self.store();
                store.grow(capacity_of(capacity)).map(|()| facts(&store))
            }
            ("race_to_raise", [memory, capacities @ ..]) => self.race_to_raise(shared(memory), capacities),
            ("capacity", []) => Ok(facts(&self.store())),
            ("take_each", [memory, ids @ ..]) => self.take_each(shared(memory), ids),
            ("open_until_told", [memory, url]) => self.open_until_told(shared(memory), url),
            ("check_until_told", [memory]) => self.check_until_told(shared(memory)),
            _ => return None,
        })
    }

    /// Acquires and releases each lock once, and then stops the other threads.
    fn grow(&self, memory: SharedMemory, ids: &[&str]) -> Result<Fields> {
        let store = self.store();
        self.begin();
        memory.wait_for_go();
        let grown = ids.iter().try_for_each(|id| store.retrieve(id_of(id))?.lock()?.unlock());
        memory.stop();
        grown.map(|()| Fields::new())
    }

    /// Raises the capacity to each number. A number that is too small is passed.
    fn race_to_raise(&self, memory: SharedMemory, capacities: &[&str]) -> Result<Fields> {
        let store = self.store();
        self.begin();
        memory.wait_for_go();
        for capacity in capacities {
            match store.grow(capacity_of(capacity)) {
                Err(error) if error.kind() == ErrorKind::OtherCapacity => {}
                raised => raised?,
            }
        }
        Ok(facts(&store))
    }

    /// Allocates each id.
    fn take_each(&self, memory: SharedMemory, ids: &[&str]) -> Result<Fields> {
        let store = self.store();
        self.begin();
        memory.wait_for_go();
        ids.iter().try_for_each(|id| store.allocate_and_retrieve(id_of(id), "").map(drop))?;
        Ok(Fields::new())
    }

    /// Opens the store by its URL, lists its ids and closes it, at least once.
    fn open_until_told(&self, memory: SharedMemory, url: &str) -> Result<Fields> {
        self.begin();
        memory.wait_for_go();
        let mut times = 0;
        while times == 0 || !memory.is_stopped() {
            let store = self.open("open", url)?;
            store.check()?;
            store.allocated()?;
            times += 1;
        }
        Ok(Fields::new().with("times", times))
    }

    /// Checks the open store and lists its ids, at least once.
    fn check_until_told(&self, memory: SharedMemory) -> Result<Fields> {
        let store = self.store();
        self.begin();
        memory.wait_for_go();
        let mut times = 0;
        while times == 0 || !memory.is_stopped() {
            store.check()?;
            store.available()?;
            store.allocated()?;
            times += 1;
        }
        Ok(Fields::new().with("times", times))
    }
}

/// Parses a capacity: a number or `unbounded`.
fn capacity_of(text: &str) -> Option<u64> {
    (text != "unbounded").then(|| number(text) as u64)
}

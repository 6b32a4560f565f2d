//! Commands that find locks by name.

use lock_core::{ErrorKind, Result};

use super::allocate::allocate_many;
use super::loops::{number, shared};
use super::worker::Worker;
use crate::protocol::{Fields, list};
use crate::shared_memory::SharedMemory;

impl Worker {
    pub(super) fn name(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("named", [name]) => self.store().named(*name).map(|lock| {
                let id = lock.id();
                self.keep(&id.to_string(), lock);
                Fields::new().with("id", id)
            }),
            ("name_many", [prefix, count]) => {
                let store = self.store();
                Ok(allocate_many(number(count), |found| store.named(format!("{prefix}{found}"))))
            }
            ("race_to_name", [memory, names @ ..]) => self.race_to_name(shared(memory), names),
            ("name_and_free", [memory, prefix]) => self.name_and_free(shared(memory), prefix),
            _ => return None,
        })
    }

    /// Finds the names in turn. Answers the ids.
    fn race_to_name(&self, memory: SharedMemory, names: &[&str]) -> Result<Fields> {
        let store = self.store();
        self.begin();
        memory.wait_for_go();
        let ids: Vec<_> = names.iter().map(|name| Ok(store.named(*name)?.id().get())).collect::<Result<_>>()?;
        Ok(Fields::new().with("ids", list(ids)))
    }

    /// Finds numbered names until stopped, and frees each one after the next one was found. Counts them in the first place.
    fn name_and_free(&self, memory: SharedMemory, prefix: &str) -> Result<Fields> {
        let store = self.store();
        self.begin();
        memory.wait_for_go();
        let (mut found, mut before) = (0, None);
        while !memory.is_stopped() {
            let lock = store.named(format!("{prefix}{}", found % 8))?;
            found += 1;
            memory.place(0).add_one(0, || {});
            if let Some(before) = before.replace(lock) {
                match before.free() {
                    // Another process freed it.
                    Err(error) if matches!(error.kind(), ErrorKind::NotAllocated | ErrorKind::Stale) => {}
                    freed => freed?,
                }
            }
        }
        Ok(Fields::new().with("found", found))
    }
}

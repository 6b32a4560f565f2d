//! Commands that drop a store, a handle or a guard.

use lock_core::Result;

use super::droppable::Droppable;
use super::worker::{Worker, id_of};
use crate::protocol::Fields;

impl Worker {
    pub(super) fn open_or_drop(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("open_droppable", [mode, url, lock]) => self.open_droppable(mode, url, lock).map(|droppable| {
                self.droppable = Some(droppable);
                Fields::new()
            }),
            ("lock_droppable", []) => self.lock_droppable(),
            ("drop_guard", []) => self.drop_part(|droppable| drop(droppable.guard.take())),
            ("drop_handle", []) => self.drop_part(|droppable| drop(droppable.lock.take())),
            ("drop_store", []) => self.drop_part(|droppable| drop(droppable.store.take())),
            _ => return None,
        })
    }

    fn open_droppable(&self, mode: &str, url: &str, lock: &str) -> Result<Droppable> {
        let store = self.open(mode, url)?;
        let lock = if lock == "-" { store.single()? } else { store.retrieve(id_of(lock))? };
        Ok(Droppable { guard: None, lock: Some(lock), store: Some(store) })
    }

    fn lock_droppable(&mut self) -> Result<Fields> {
        let droppable = self.droppable.as_mut().expect("the thread has opened it");
        droppable.guard = Some(droppable.lock.as_ref().expect("the handle exists").lock_owned()?);
        Ok(Fields::new())
    }

    fn drop_part(&mut self, part: impl FnOnce(&mut Droppable)) -> Result<Fields> {
        part(self.droppable.as_mut().expect("the thread has opened it"));
        Ok(Fields::new())
    }
}

//! Commands that allocate and free ids.

use lock_core::{Error, Lock, LockId, Reconciled, Result};

use super::worker::{Worker, id_of};
use crate::protocol::{Fields, list};

impl Worker {
    pub(super) fn allocate_or_free(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("allocate", [label]) => self.store().allocate(*label).map(|lock| {
                let id = lock.id();
                self.keep(&id.to_string(), lock);
                Fields::new().with("id", id)
            }),
            ("allocate_temporary", [label]) => self.store().allocate_temporary(*label).map(|lock| {
                let id = lock.id();
                self.keep(&id.to_string(), lock);
                Fields::new().with("id", id)
            }),
            ("reclaim", []) => {
                self.store().reclaim().map(|freed| Fields::new().with("freed", list(freed.iter().map(|id| id.get()))))
            }
            ("allocate_many", [count]) => {
                let store = self.store();
                Ok(allocate_many(count.parse().expect("a count"), |_| store.allocate("")))
            }
            ("take", [id, label]) => self.store().allocate_and_retrieve(id_of(id), *label).map(|lock| {
                self.keep(id, lock);
                Fields::new()
            }),
            ("get_or_allocate", [id, label]) => self.store().get_or_allocate(id_of(id), *label).map(|lock| {
                self.keep(id, lock);
                Fields::new()
            }),
            ("retrieve", [id]) => self.store().retrieve(id_of(id)).map(|lock| {
                self.keep(id, lock);
                Fields::new()
            }),
            ("free", [id]) => self.store().free(id_of(id)).map(|()| Fields::new()),
            ("free_handle", [id]) => self.handle(id).and_then(Lock::free).map(|()| Fields::new()),
            ("free_all", []) => self.store().free_all().map(|freed| Fields::new().with("freed", freed)),
            ("reconcile", ids) => self.store().reconcile(ids.iter().map(|id| id_of(id))).map(|done| changes(&done)),
            // Each id has a label after it.
            ("reconcile_labels", words) => {
                let pairs = words.as_chunks::<2>().0.iter().map(|[id, label]| (id_of(id), *label));
                self.store().reconcile(pairs).map(|done| changes(&done))
            }
            _ => return None,
        })
    }
}

/// Allocates up to `count` ids by `allocate`, which gets their number so far. Answers the ids, and the error that ended the loop.
pub(super) fn allocate_many(count: usize, allocate: impl Fn(usize) -> Result<Lock>) -> Fields {
    let mut ids = Vec::new();
    let refusal: Option<Error> = loop {
        if ids.len() == count {
            break None;
        }
        match allocate(ids.len()) {
            Ok(lock) => ids.push(lock.id().get()),
            Err(error) => break Some(error),
        }
    };
    let fields = Fields::new().with("ids", list(ids));
    match refusal {
        None => fields,
        Some(error) => fields.with("refusal", error),
    }
}

fn changes(done: &Reconciled) -> Fields {
    let numbers = |ids: &[LockId]| list(ids.iter().map(|id| id.get()));
    Fields::new().with("allocated", numbers(&done.allocated)).with("freed", numbers(&done.freed))
}

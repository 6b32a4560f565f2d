//! Commands that open and inspect stores.

use std::cell::RefCell;

use lock_core::{Allocation, Holder, OpenMode, Result, Store};

use super::Inheritance;
use super::worker::{Worker, id_of};
use crate::protocol::{Fields, list};

impl Worker {
    pub(super) fn open_or_list(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("open", [mode, url]) => self.open(mode, url).map(|store| {
                self.own = None;
                let fields = facts(&store);
                self.with_owned(|owned| *owned = Inheritance { store: Some(store), ..Inheritance::default() });
                fields
            }),
            ("open_own", [mode, url]) => self.open(mode, url).map(|store| {
                let fields = facts(&store);
                self.own = Some(RefCell::new(Inheritance { store: Some(store), ..Inheritance::default() }));
                fields
            }),
            // Opens and closes a store without using it.
            ("probe", [mode, url]) => self.open(mode, url).map(|store| facts(&store)),
            ("url", []) => Ok(Fields::new().with("url", self.store().url())),
            ("available", []) => self.store().available().map(|available| match available {
                Some(available) => Fields::new().with("available", available),
                None => Fields::new(),
            }),
            ("allocated", []) => self.store().allocated().map(|allocations| fields_of(&allocations)),
            ("allocation", [id]) => self.store().allocation(id_of(id)).map(|found| fields_of(found.as_slice())),
            ("list_in_parts", []) => {
                let ids = self.store().iter_allocated().map(|allocation| Ok(allocation?.id.get()));
                ids.collect::<Result<Vec<_>>>().map(|ids| Fields::new().with("ids", list(ids)))
            }
            ("held", []) => self.held(),
            ("break", [id]) => self.store().break_lock(id_of(id)).map(|()| Fields::new()),
            ("check", []) => self.store().check().map(|()| Fields::new()),
            ("destroy", []) => self.store().destroy().map(|()| Fields::new()),
            ("single", []) => self.store().single().map(|_| Fields::new()),
            _ => return None,
        })
    }

    pub(super) fn open(&self, mode: &str, url: &str) -> Result<Store> {
        let mode = match mode {
            "open" => OpenMode::Open,
            "create" => OpenMode::Create,
            "open_or_create" => OpenMode::OpenOrCreate,
            other => panic!("unknown mode {other:?}"),
        };
        let backend = self.peer.suite.backend().expect("the suite tests a store");
        Store::with_backend(backend, &url.parse()?, mode)
    }

    fn held(&self) -> Result<Fields> {
        let held = self.store().held()?;
        let mut fields = Fields::new().with("ids", list(held.iter().map(|held| held.id.get())));
        for held in &held {
            fields = with_holder(fields, held.id.get(), held.holder.as_ref());
            if let Some(waiters) = held.waiters {
                fields = fields.with(format!("waiters.{}", held.id), waiters);
            }
            if let Some(time) = held.held_for_at_least {
                fields = fields.with(format!("held_for_at_least.{}", held.id), time.as_nanos());
            }
        }
        Ok(fields)
    }
}

fn fields_of(allocations: &[Allocation]) -> Fields {
    let mut fields = Fields::new().with("ids", list(allocations.iter().map(|allocation| allocation.id.get())));
    for allocation in allocations {
        let id = allocation.id;
        fields = fields.with(format!("label.{id}"), &allocation.label).with(format!("is_named.{id}"), allocation.is_named);
        if let Some(generation) = allocation.generation {
            fields = fields.with(format!("generation.{id}"), generation.get());
        }
        fields = with_holder(fields, id.get(), allocation.allocator.as_ref());
    }
    fields
}

fn facts(store: &Store) -> Fields {
    let fields = Fields::new().with("id", store.id());
    match store.capacity() {
        Some(capacity) => fields.with("capacity", capacity),
        None => fields,
    }
}

fn with_holder(fields: Fields, id: u32, holder: Option<&Holder>) -> Fields {
    let Some(holder) = holder else { return fields };
    fields
        .with(format!("pid.{id}"), holder.pid)
        .with(format!("tid.{id}"), holder.tid)
        .with(format!("command.{id}"), &holder.command)
}

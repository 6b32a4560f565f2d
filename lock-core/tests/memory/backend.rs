// A backend in the memory of one process. The examples in the documentation of this crate include it, so that the crate needs no other
// one for its tests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};

use lock_core::{
    Acquired, Allocation, Backend, Capabilities, Cause, Condition, Deadline, Death, Generation, Growth, Label, LockId, Manager, Names, OpenMode, OwnerKind, Proof, RawLock, Recovery, Result, SendGuards, Sharing, Store, StoreId, StoreUrl, Temporary,
};

/// Number of locks in a new store.
const CAPACITY: u32 = 8;

const BACKEND: Backend = Backend::new("memory", "lock-core", "locks in the memory of one process", |_, _| {
    Ok(Arc::new(Memory { ids: Mutex::default(), capacity: AtomicU64::new(CAPACITY.into()), locks: Default::default() }))
})
.with(
    Capabilities::minimal()
        .with_sharing(Sharing::Threads)
        .with_names(Names::Supported)
        .with_growth(Growth::Supported)
        .with_temporary(Temporary::Reclaimed)
        .with_send_guards(SendGuards::Supported),
);

/// Returns a new store.
pub fn store() -> Result<Store> {
    Store::with_backend(&BACKEND, &"memory:example".parse::<StoreUrl>()?, OpenMode::Create)
}

#[derive(Debug)]
struct Memory {
    ids: Mutex<Vec<Allocation>>,
    capacity: AtomicU64,
    locks: [Arc<MemoryLock>; CAPACITY as usize],
}

impl Manager for Memory {
    fn id(&self) -> StoreId {
        StoreId::new(1)
    }

    fn capacity(&self) -> Option<u64> {
        Some(self.capacity.load(Relaxed))
    }

    fn grow(&self, capacity: Option<u64>) -> Result<()> {
        self.capacity.fetch_max(capacity.unwrap_or(LockId::LIMIT), Relaxed);
        Ok(())
    }

    fn allocate_temporary(&self, label: &Label) -> Result<LockId> {
        let id = self.allocate(label)?;
        let mut ids = self.ids.lock().unwrap();
        ids.iter_mut().filter(|allocation| allocation.id == id).for_each(|allocation| allocation.is_temporary = true);
        Ok(id)
    }

    /// The store is in the memory of the only allocator, which lives.
    fn reclaim(&self) -> Result<Vec<LockId>> {
        Ok(Vec::new())
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        let lock = self.locks.get(id.get() as usize).expect("the examples use few locks");
        Ok(lock.clone())
    }

    fn allocate(&self, label: &Label) -> Result<LockId> {
        let id = LockId::new(self.ids.lock().unwrap().len() as u32);
        self.allocate_exact(id, label)?;
        Ok(id)
    }

    fn allocate_exact(&self, id: LockId, _label: &Label) -> Result<()> {
        self.ids.lock().unwrap().push(Allocation::new(id));
        Ok(())
    }

    fn named(&self, name: &Label) -> Result<(LockId, Option<Generation>)> {
        let mut ids = self.ids.lock().unwrap();
        if let Some(known) = ids.iter().find(|allocation| allocation.is_named && allocation.label == *name) {
            return Ok((known.id, None));
        }
        let mut allocation = Allocation::new(LockId::new(ids.len() as u32));
        allocation.label = name.clone();
        allocation.is_named = true;
        ids.push(allocation.clone());
        Ok((allocation.id, None))
    }

    fn free(&self, id: LockId, _generation: Option<Generation>) -> Result<()> {
        self.ids.lock().unwrap().retain(|allocation| allocation.id != id);
        Ok(())
    }

    fn free_all(&self) -> Result<u64> {
        Ok(self.ids.lock().unwrap().drain(..).count() as u64)
    }

    fn available(&self) -> Result<Option<u64>> {
        Ok(Some(self.capacity.load(Relaxed) - self.ids.lock().unwrap().len() as u64))
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Ok(self.ids.lock().unwrap().clone())
    }
}

#[derive(Debug, Default)]
struct MemoryLock {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_held: bool,
    death: Option<Death>,
}

impl RawLock for MemoryLock {
    fn acquire(&self, _deadline: Deadline) -> Result<Acquired> {
        let mut state = self.released.wait_while(self.state.lock().unwrap(), |state| state.is_held).unwrap();
        state.is_held = true;
        Ok(match state.death.clone() {
            Some(death) => Acquired::Recovered(Box::new(Recovery { token: 0, death })),
            None => Acquired::Held { token: 0 },
        })
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire(deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let mut state = self.state.lock().unwrap();
        state.is_held = false;
        if proof.condition() == Condition::Panicked {
            state.death = Some(Death::of(None).with_cause(Cause::Panicked));
        }
        self.released.notify_one();
        Ok(())
    }

    fn mark_consistent(&self, _owner: OwnerKind, _token: Option<u64>) -> Result<()> {
        self.state.lock().unwrap().death = None;
        Ok(())
    }
}

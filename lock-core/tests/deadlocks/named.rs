//! A backend in the memory of one process that names holders and waiters.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lock_core::{
    Acquired, Allocation, Backend, Capabilities, Deadline, Deadlines, Error, Generation, HeldBy, HeldLock, Holder, Holders,
    Label, LockId, Manager, OpenMode, OwnerKind, Proof, RawLock, Result, SendGuards, Sharing, Store, StoreId, StoreUrl, Waiter,
    Waiters, Waits,
};

const CLAIMS: Capabilities = Capabilities::minimal()
    .with_sharing(Sharing::Threads)
    .with_deadlines(Deadlines::Monotonic)
    .with_send_guards(SendGuards::Supported)
    .with_holders(Holders::Named);

/// A backend that names waiters.
pub(crate) const NAMED: Backend =
    Backend::new("named", "lock-core", "locks in the memory of one process", open).with(CLAIMS.with_waiters(Waiters::Named));

/// A backend that only counts them.
pub(crate) const COUNTED: Backend =
    Backend::new("counted", "lock-core", "locks in the memory of one process", open).with(CLAIMS.with_waiters(Waiters::Counted));

/// Returns a new store with a URL of these options.
pub(crate) fn store(backend: &Backend, options: &str) -> Result<Store> {
    let url: StoreUrl = format!("{}:example{options}", backend.scheme()).parse()?;
    Store::with_backend(backend, &url, OpenMode::Create)
}

fn open(url: &StoreUrl, _mode: OpenMode) -> Result<Arc<dyn Manager>> {
    url.options().finish()?;
    let shared = Arc::new(Shared::default());
    let id = StoreId::new(Arc::as_ptr(&shared) as usize as u128);
    Ok(Arc::new(Named { shared, id }))
}

#[derive(Debug, Default)]
struct State {
    holders: BTreeMap<u32, Holder>,
    waiters: Vec<(u32, Holder, Instant)>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Named {
    shared: Arc<Shared>,
    id: StoreId,
}

fn no_allocation() -> Error {
    Error::unsupported("its locks are retrieved by number")
}

impl Manager for Named {
    fn id(&self) -> StoreId {
        self.id
    }

    fn capacity(&self) -> Option<u64> {
        None
    }

    fn lock(&self, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(NamedLock { shared: Arc::clone(&self.shared), id: id.get() }))
    }

    fn allocate(&self, _label: &Label) -> Result<LockId> {
        Err(no_allocation())
    }

    fn allocate_exact(&self, _id: LockId, _label: &Label) -> Result<()> {
        Err(no_allocation())
    }

    fn free(&self, _id: LockId, _generation: Option<Generation>) -> Result<()> {
        Err(no_allocation())
    }

    fn free_all(&self) -> Result<u64> {
        Err(no_allocation())
    }

    fn available(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn allocated(&self) -> Result<Vec<Allocation>> {
        Ok(Vec::new())
    }

    fn held(&self) -> Result<Vec<HeldLock>> {
        let held = |(id, holder): (&u32, &Holder)| HeldLock::new(LockId::new(*id), Some(holder.clone()));
        Ok(self.shared.state().holders.iter().map(held).collect())
    }

    fn waiting(&self) -> Result<Waits> {
        let state = self.shared.state();
        let waiter = |(id, thread, since): &(u32, Holder, Instant)| {
            Waiter::new(LockId::new(*id), thread.clone()).with_waited(Some(since.elapsed()))
        };
        Ok(Waits::new(state.waiters.iter().map(waiter).collect(), None))
    }
}

#[derive(Debug)]
struct NamedLock {
    shared: Arc<Shared>,
    id: u32,
}

impl NamedLock {
    fn acquire_as(&self, owner: Holder, thread: Holder, deadline: Deadline) -> Result<Acquired> {
        let mut state = self.shared.state();
        let begin = Instant::now();
        if state.holders.contains_key(&self.id) {
            state.waiters.push((self.id, thread.clone(), begin));
        }
        while state.holders.contains_key(&self.id) && !deadline.has_passed() {
            let left = deadline.remaining().unwrap_or(Duration::from_secs(3600));
            state = self.shared.released.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiters.retain(|(_, waiter, _)| *waiter != thread);
        if state.holders.contains_key(&self.id) {
            return Ok(Acquired::TimedOut);
        }
        state.holders.insert(self.id, owner);
        Ok(Acquired::Held { token: 0 })
    }
}

fn this_process() -> Holder {
    Holder::of_process(std::process::id()).with_command("test")
}

fn this_thread() -> Holder {
    this_process().with_thread(nix::unistd::gettid().as_raw() as u32)
}

impl RawLock for NamedLock {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(this_thread(), this_thread(), deadline)
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_as(this_process(), this_thread(), deadline)
    }

    fn release(&self, _proof: Proof) -> Result<()> {
        self.shared.state().holders.remove(&self.id);
        self.shared.released.notify_all();
        Ok(())
    }

    fn check(&self, _owner: OwnerKind, _token: Option<u64>) -> Result<()> {
        Err(Error::unsupported("no lock is lost"))
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.shared.state().holders.get(&self.id).cloned())
    }

    fn held_by(&self) -> HeldBy {
        self.shared.state().holders.get(&self.id).cloned().map_or(HeldBy::Free, HeldBy::Holder)
    }
}

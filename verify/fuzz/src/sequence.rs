use lock_core::{Backend, Deadline, Error, Lock, LockId, OpenMode, Store, StoreUrl, ThreadDeath};

use crate::actor::{Actor, Attempt};
use crate::kind;
use crate::model::{Model, Outcome, Owner};
use crate::scratch::Scratch;
use crate::step::{Step, Wait};

/// The backends that a sequence can run on.
pub const BACKENDS: [Backend; 4] = [lock_shm::BACKEND, lock_file::BACKEND, lock_sem::POSIX, lock_sem::SYSV];

/// Maximum number of open handles. The oldest is dropped first.
const HANDLES: usize = 12;

/// Checks a sequence of operations by two threads on a small store against a model. Compares the listings after each operation.
///
/// The first byte is the capacity, from 1 to 12. Four bytes follow for each operation. The store is removed at the end, also after a
/// panic.
///
/// # Panics
/// If the result of an operation differs from that of the model.
pub fn sequence(backend: &Backend, bytes: &[u8]) {
    let Some((capacity, steps)) = bytes.split_first() else { return };
    let mut run = Run::new(backend, u32::from(capacity % 12) + 1);
    for (number, step) in steps.chunks_exact(4).enumerate() {
        let step = Step::decode(step.try_into().expect("a chunk has four bytes"), run.model.capacity());
        run.doing = format!("{}: step {number}, {step:?}", backend.scheme());
        run.step(step);
        run.compare();
    }
    "the end".clone_into(&mut run.doing);
    run.finish();
}

struct Handle {
    lock: Lock,
    id: u32,
    generation: u64,
}

struct Run<'a> {
    backend: &'a Backend,
    model: Model,
    doing: String,
    actors: [Option<Actor>; 2],
    /// The locks that dead threads held: the id of each lock, and the id of the thread.
    dead: Vec<(u32, u32)>,
    handles: Vec<Handle>,
    store: Option<Store>,
    scratch: Scratch,
}

impl<'a> Run<'a> {
    fn new(backend: &'a Backend, capacity: u32) -> Self {
        let (model, scratch) = (Model::new(capacity), Scratch::new());
        let mut run = Self {
            backend,
            model,
            doing: "creation".to_owned(),
            actors: [None, None],
            dead: Vec::new(),
            handles: Vec::new(),
            store: None,
            scratch,
        };
        run.store = Some(run.open(OpenMode::Create, capacity).expect("the store can be created"));
        run
    }

    fn open(&self, mode: OpenMode, capacity: u32) -> Result<Store, Error> {
        let store = self.scratch.store();
        let url = format!("{}:{}?capacity={capacity}", self.backend.scheme(), store.display());
        let url: StoreUrl = url.parse().expect("the URL is valid");
        Store::with_backend(self.backend, &url, mode)
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("the store is open")
    }

    fn actor(&mut self, thread: usize) -> &Actor {
        self.actors[thread].get_or_insert_with(Actor::new)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Allocate { label } => {
                let expected = self.model.allocate(&label);
                self.got(self.store().allocate(label), expected);
            }
            Step::AllocateTemporary { label } => {
                let expected = self.model.allocate_temporary(&label);
                self.got(self.store().allocate_temporary(label), expected);
            }
            // The allocator lives.
            Step::Reclaim => self.same(self.store().reclaim(), Ok(Vec::new())),
            Step::Grow { capacity } => {
                let expected = self.model.grow(capacity);
                self.same(self.store().grow(u64::from(capacity)), expected);
            }
            Step::AllocateExact { id, label } => {
                // The label is checked before the id.
                let expected = self.model.allocate_exact(id, &label);
                self.got(self.store().allocate_and_retrieve(id, label), expected);
            }
            Step::Named { name } => {
                let expected = self.model.named(&name);
                self.got(self.store().named(name), expected);
            }
            Step::Retrieve { id } => {
                let expected = self.model.retrieve(id);
                self.got(self.store().retrieve(id), expected);
            }
            Step::Forget { handle } => {
                if let Some(at) = self.nth(handle) {
                    self.handles.remove(at);
                }
            }
            Step::Free { id } => {
                let expected = self.model.free(id, None);
                self.same(self.store().free(id), expected);
            }
            Step::FreeHandle { handle } => {
                if let Some(at) = self.nth(handle) {
                    let handle = &self.handles[at];
                    let expected = self.model.free(handle.id, Some(handle.generation));
                    self.same(handle.lock.free(), expected);
                }
            }
            Step::FreeAll => {
                let expected = Ok(self.model.free_all());
                self.same(self.store().free_all(), expected);
            }
            Step::Reconcile { ids } => {
                let expected = self.model.reconcile(&ids);
                let done = self.store().reconcile(ids.into_iter().map(LockId::new));
                self.same(done.map(|done| (numbers(&done.allocated), numbers(&done.freed))), expected);
            }
            Step::Acquire { thread, handle, wait } => {
                if let Some(at) = self.nth(handle) {
                    self.acquire(thread, self.handles[at].lock.clone(), wait);
                }
            }
            Step::Release { thread, id, by_drop } => self.release(thread, id, by_drop),
            Step::Die { thread } => self.die(thread),
            Step::Reopen { release } => self.reopen(release),
            Step::OpenWrongly => {
                let capacity = self.model.capacity();
                self.same(self.open(OpenMode::Create, capacity).map(drop), Err("Exists"));
                self.same(self.open(OpenMode::Open, capacity + 1).map(drop), Err("OtherCapacity"));
                let same = self.open(OpenMode::OpenOrCreate, capacity).map(|store| store.id() == self.store().id());
                self.same(same, Ok(true));
            }
        }
    }

    fn nth(&self, handle: usize) -> Option<usize> {
        (!self.handles.is_empty()).then(|| handle % self.handles.len())
    }

    fn got(&mut self, lock: Result<Lock, Error>, expected: Result<u32, &'static str>) {
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) => return self.same(Err::<u32, _>(error), expected),
        };
        let id = lock.id().get();
        self.same(Ok(id), expected);
        let generation = self.model.one(id).generation;
        if self.handles.len() == HANDLES {
            self.handles.remove(0);
        }
        self.handles.push(Handle { lock, id, generation });
    }

    fn acquire(&mut self, thread: usize, lock: Lock, wait: Wait) {
        let id = lock.id().get();
        let expected = match self.model.acquire(thread, id) {
            // Without a wait there is no deadlock to refuse.
            Outcome::AlreadyHeld if matches!(wait, Wait::Try | Wait::Now) => Outcome::Busy,
            expected => expected,
        };
        let wait = if matches!((wait, &expected), (Wait::Never, Outcome::Busy)) { Wait::Zero } else { wait };
        let owner = match self.model.one(id).owner {
            Owner::Alive(owner) => self.actor(owner).tid,
            _ => 0,
        };
        match (self.actor(thread).acquire(lock, wait.deadline()), expected) {
            (Attempt::Held { token, death }, Outcome::Held { recovered }) => {
                let before = std::mem::replace(&mut self.model.one(id).token, token);
                assert!(token > before, "{}: token {token} after {before}", self.doing);
                let died = self.dead.iter().position(|(dead, _)| *dead == id).map(|at| self.dead.remove(at).1);
                assert_eq!(death, died.map(Some), "{}", self.doing);
                assert_eq!(recovered, died.is_some());
            }
            (Attempt::Busy, Outcome::Busy) => {}
            (Attempt::Refused(error), Outcome::Busy) => {
                assert!(error.is_timed_out(), "{}: {error}", self.doing);
                assert_eq!(error.holder().map(|holder| holder.tid), Some(owner), "{}", self.doing);
            }
            (Attempt::Refused(error), Outcome::AlreadyHeld) => assert_eq!(kind(&error), "AlreadyHeld", "{}", self.doing),
            (Attempt::Held { .. }, expected) => panic!("{}: held, not {expected:?}", self.doing),
            (Attempt::Busy, expected) => panic!("{}: busy, not {expected:?}", self.doing),
            (Attempt::Refused(error), expected) => panic!("{}: {error}, not {expected:?}", self.doing),
        }
    }

    fn release(&mut self, thread: usize, id: u32, by_drop: bool) {
        let expected = id < self.model.capacity() && self.model.one(id).owner == Owner::Alive(thread);
        let released = self.actor(thread).release(id, by_drop);
        assert_eq!(released, expected, "{}", self.doing);
        if released {
            self.model.one(id).owner = Owner::None;
        }
    }

    /// Ends a thread. It keeps its locks if the backend reports the death of a thread, and releases them otherwise.
    fn die(&mut self, thread: usize) {
        let Some(actor) = self.actors[thread].take() else { return };
        let held = self.model.with_owner(|owner| owner == Owner::Alive(thread));
        let reported = self.backend.capabilities().thread_death == ThreadDeath::Reported;
        for id in held {
            self.model.one(id).owner = if reported { Owner::Died } else { Owner::None };
            if reported {
                self.dead.push((id, actor.tid));
            }
        }
        if reported { actor.die() } else { drop(actor) }
    }

    fn reopen(&mut self, release: bool) {
        if release {
            self.release_all();
        }
        self.handles.clear();
        self.store = None;
        self.store = Some(self.open(OpenMode::Open, self.model.capacity()).expect("the store can be opened"));
    }

    /// Releases all locks, after each death was reported. A table is not closed while one of its locks is held.
    fn release_all(&mut self) {
        for id in self.model.with_owner(|owner| owner == Owner::Died) {
            self.acquire(0, self.store().retrieve(id).expect("the id is in range"), Wait::Never);
        }
        self.actors.iter().flatten().for_each(Actor::release_all);
        for id in 0..self.model.capacity() {
            self.model.one(id).owner = Owner::None;
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(&self, found: Result<T, Error>, expected: Result<T, &'static str>) {
        let found = found.map_err(|error| kind(&error));
        assert_eq!(found, expected.map_err(str::to_owned), "{}", self.doing);
    }

    fn compare(&mut self) {
        let allocated = self.model.allocated();
        let free = u64::from(self.model.capacity()) - allocated.len() as u64;
        self.same(self.store().available(), Ok(Some(free)));
        let list = self.store().allocated().expect("the store is open");
        let list = list.into_iter().map(|one| {
            (
                one.id.get(),
                one.label.to_string(),
                [one.is_named, one.is_temporary],
                one.generation.map_or(0, lock_core::Generation::get),
            )
        });
        assert_eq!(list.collect::<Vec<_>>(), allocated, "{}", self.doing);

        let lives = self.model.with_owner(|owner| matches!(owner, Owner::Alive(_)));
        let held = self.store().held().expect("the store is open");
        assert_eq!(held.iter().map(|one| one.id.get()).collect::<Vec<_>>(), lives, "{}", self.doing);
        for one in held {
            let Owner::Alive(thread) = self.model.one(one.id.get()).owner else { continue };
            let tid = self.actor(thread).tid;
            assert_eq!(one.holder.map(|holder| holder.tid), Some(tid), "{}", self.doing);
        }
        for handle in &self.handles {
            let stale = self.model.one(handle.id).generation != handle.generation;
            assert_eq!(handle.lock.is_stale(), stale, "{}: handle on {}", self.doing, handle.id);
            let is_held = handle.lock.holder().expect("the holder can be read").is_some();
            assert_eq!(is_held, lives.contains(&handle.id), "{}: handle on {}", self.doing, handle.id);
        }
    }

    fn finish(mut self) {
        self.release_all();
        for id in 0..self.model.capacity() {
            let lock = self.store().retrieve(id).expect("the id is in range");
            lock.lock_by(Deadline::Now).and_then(lock_core::Guard::unlock).expect("all locks are free");
        }
        self.store().destroy().expect("the store exists");
        self.same(self.store().allocate("").map(drop), Err("Destroyed"));
        self.same(self.open(OpenMode::Open, self.model.capacity()).map(drop), Err("Absent"));
        self.store = None;
    }
}

impl Drop for Run<'_> {
    /// Destroys the store, because some backends keep objects outside the scratch directory.
    fn drop(&mut self) {
        if let Some(store) = &self.store {
            let _ = store.destroy();
        }
    }
}

fn numbers(ids: &[LockId]) -> Vec<u32> {
    ids.iter().map(|id| id.get()).collect()
}

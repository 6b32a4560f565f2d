use lock_core::{Backend, Deadline, Error, Lock, LockId, OpenMode, Store, StoreUrl, ThreadDeath};

use crate::actor::{Actor, Attempt};
use crate::kind;
use crate::model::{Model, Owner, Taken};
use crate::scratch::Scratch;
use crate::step::{Step, Wait};

/// The backends that a sequence can run on.
pub const BACKENDS: [Backend; 4] = [lock_shm::BACKEND, lock_file::BACKEND, lock_sem::POSIX, lock_sem::SYSV];

/// As many handles are kept; the oldest goes first.
const HANDLES: usize = 12;

/// A sequence of operations on a small store, by two threads: each gives what a model says, and so do the listings after each.
///
/// The first byte is the capacity, up to twelve; then there are four for each operation. What is left open at the end, and the store,
/// is gone afterwards, also when the property does not hold.
///
/// # Panics
/// When an operation gives something else than the model says.
pub fn sequence(backend: &Backend, bytes: &[u8]) {
    let Some((capacity, steps)) = bytes.split_first() else { return };
    let mut run = Run::new(backend, u32::from(capacity % 12) + 1);
    for (number, step) in steps.chunks_exact(4).enumerate() {
        let step = Step::decode(step.try_into().expect("there are four"), run.model.capacity());
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
    /// Who died, by id of what they held.
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
        run.store = Some(run.open(OpenMode::Create, capacity).expect("it is created"));
        run
    }

    fn open(&self, mode: OpenMode, capacity: u32) -> Result<Store, Error> {
        let store = self.scratch.store();
        let url = format!("{}:{}?capacity={capacity}", self.backend.scheme(), store.display());
        let url: StoreUrl = url.parse().expect("it is a URL");
        Store::with_backend(self.backend, &url, mode)
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    fn actor(&mut self, who: usize) -> &Actor {
        self.actors[who].get_or_insert_with(Actor::new)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Allocate { label } => {
                let expected = self.model.allocate(&label);
                self.got(self.store().allocate(label), expected);
            }
            Step::AllocateExact { id, label } => {
                // The label is looked at before the id.
                let expected = self.model.allocate_exact(id, &label);
                self.got(self.store().allocate_and_retrieve(id, label), expected);
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
                self.same(done.map(|done| (numbers(&done.claimed), numbers(&done.freed))), expected);
            }
            Step::Take { who, handle, wait } => {
                if let Some(at) = self.nth(handle) {
                    self.take(who, self.handles[at].lock.clone(), wait);
                }
            }
            Step::Give { who, id, by_drop } => self.give(who, id, by_drop),
            Step::Die { who } => self.die(who),
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
        let id = lock.id().expect("it has a number").get();
        self.same(Ok(id), expected);
        let generation = self.model.one(id).generation;
        if self.handles.len() == HANDLES {
            self.handles.remove(0);
        }
        self.handles.push(Handle { lock, id, generation });
    }

    fn take(&mut self, who: usize, lock: Lock, wait: Wait) {
        let id = lock.id().expect("it has a number").get();
        let expected = self.model.take(who, id);
        let wait = if matches!((wait, &expected), (Wait::Never, Taken::Busy)) { Wait::Zero } else { wait };
        let owner = match self.model.one(id).owner {
            Owner::Lives(owner) => self.actor(owner).tid,
            _ => 0,
        };
        match (self.actor(who).take(lock, wait.deadline()), expected) {
            (Attempt::Held { token, death }, Taken::Held { recovered }) => {
                let before = std::mem::replace(&mut self.model.one(id).token, token);
                assert!(token > before, "{}: token {token} after {before}", self.doing);
                let died = self.dead.iter().position(|(dead, _)| *dead == id).map(|at| self.dead.remove(at).1);
                assert_eq!(death, died.map(Some), "{}", self.doing);
                assert_eq!(recovered, died.is_some());
            }
            (Attempt::Busy, Taken::Busy) => {}
            (Attempt::Refused(error), Taken::Busy) => {
                let lock_core::ErrorKind::TimedOut { holder: Some(holder) } = error.kind() else {
                    panic!("{}: {error}", self.doing)
                };
                assert_eq!(holder.tid, owner, "{}", self.doing);
            }
            (Attempt::Refused(error), Taken::AlreadyHeld) => assert_eq!(kind(&error), "AlreadyHeld", "{}", self.doing),
            (Attempt::Held { .. }, expected) => panic!("{}: held, not {expected:?}", self.doing),
            (Attempt::Busy, expected) => panic!("{}: busy, not {expected:?}", self.doing),
            (Attempt::Refused(error), expected) => panic!("{}: {error}, not {expected:?}", self.doing),
        }
    }

    fn give(&mut self, who: usize, id: u32, by_drop: bool) {
        let expected = id < self.model.capacity() && self.model.one(id).owner == Owner::Lives(who);
        let gave = self.actor(who).give(id, by_drop);
        assert_eq!(gave, expected, "{}", self.doing);
        if gave {
            self.model.one(id).owner = Owner::Nobody;
        }
    }

    /// A thread ends; where that is reported, with what it holds.
    fn die(&mut self, who: usize) {
        let Some(actor) = self.actors[who].take() else { return };
        let held = self.model.with_owner(|owner| owner == Owner::Lives(who));
        let reported = self.backend.capabilities().thread_death == ThreadDeath::Reported;
        for id in held {
            self.model.one(id).owner = if reported { Owner::Died } else { Owner::Nobody };
            if reported {
                self.dead.push((id, actor.tid));
            }
        }
        if reported { actor.die() } else { drop(actor) }
    }

    fn reopen(&mut self, release: bool) {
        if release {
            self.release();
        }
        self.handles.clear();
        self.store = None;
        self.store = Some(self.open(OpenMode::Open, self.model.capacity()).expect("it is there"));
    }

    /// All locks are free afterwards, and each death has been reported: a table with a lock that is held is never closed.
    fn release(&mut self) {
        for id in self.model.with_owner(|owner| owner == Owner::Died) {
            self.take(0, self.store().retrieve(id).expect("it is in range"), Wait::Never);
        }
        self.actors.iter().flatten().for_each(Actor::give_all);
        for id in 0..self.model.capacity() {
            self.model.one(id).owner = Owner::Nobody;
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
        let list = self.store().allocated().expect("it is open");
        let list = list
            .into_iter()
            .map(|one| (one.id.get(), one.label.to_string(), one.generation.map_or(0, lock_core::Generation::get)));
        assert_eq!(list.collect::<Vec<_>>(), allocated, "{}", self.doing);

        let lives = self.model.with_owner(|owner| matches!(owner, Owner::Lives(_)));
        let held = self.store().held().expect("it is open");
        assert_eq!(held.iter().map(|one| one.id.get()).collect::<Vec<_>>(), lives, "{}", self.doing);
        for one in held {
            let Owner::Lives(who) = self.model.one(one.id.get()).owner else { continue };
            let tid = self.actor(who).tid;
            assert_eq!(one.holder.map(|holder| holder.tid), Some(tid), "{}", self.doing);
        }
        for handle in &self.handles {
            let stale = self.model.one(handle.id).generation != handle.generation;
            assert_eq!(handle.lock.is_stale(), stale, "{}: handle on {}", self.doing, handle.id);
            let is_held = handle.lock.holder().expect("it is a lock").is_some();
            assert_eq!(is_held, lives.contains(&handle.id), "{}: handle on {}", self.doing, handle.id);
        }
    }

    fn finish(mut self) {
        self.release();
        for id in 0..self.model.capacity() {
            let lock = self.store().retrieve(id).expect("it is in range");
            lock.lock_by(Deadline::Now).and_then(lock_core::Guard::unlock).expect("all locks are free");
        }
        self.store().destroy().expect("it is there");
        self.same(self.store().allocate("").map(drop), Err("Destroyed"));
        self.same(self.open(OpenMode::Open, self.model.capacity()).map(drop), Err("Absent"));
        self.store = None;
    }
}

impl Drop for Run<'_> {
    /// What a store has outside of the scratch directory goes with it.
    fn drop(&mut self) {
        if let Some(store) = &self.store {
            let _ = store.destroy();
        }
    }
}

fn numbers(ids: &[LockId]) -> Vec<u32> {
    ids.iter().map(|id| id.get()).collect()
}

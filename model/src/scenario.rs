//! Who does what, and what is looked at when all is quiet.

use crate::explorer::{self, Progress, Report};
use crate::ghost::{Id, Note, Phase, Stage};
use crate::lock::ShmLock;
use crate::scene::{FIRST, Scene, THREADS};
use crate::step;
use crate::table::Slot;
use crate::world::{self, Op};
use crate::{Acquired, Deadline, Error, ErrorKind, Label, LockId, Proof, RawLock, Result};

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// Takes this lock and gives it back.
    Lock(usize),
    /// The same, if that needs no waiting.
    TryLock,
    /// The same, waiting until a deadline that passes at any time, or never.
    TimedLock,
    /// Takes lock 0 and then lock 1, and gives them back in the same order.
    Both,
    /// Allocates an id and frees it.
    Allocate,
    /// Allocates an id and keeps it.
    Keep,
    /// Allocates and frees this one of the ids that are free at the start.
    Exactly(usize),
    /// Reads who has the first of those ids.
    Read,
    /// Claims a word and gives it back.
    Claim,
}

/// A few threads, what they do, and what may happen to them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How it is called.
    pub name: &'static str,
    pub(crate) threads: Vec<Vec<Act>>,
    /// How many threads may die.
    pub(crate) deaths: usize,
    /// How often a sleep may end for no reason.
    pub(crate) interrupts: usize,
    /// Whether the kernel serves the lists of the dead.
    pub(crate) served: bool,
    /// Whether threads also die in the middle of a change of the list and the word.
    pub(crate) dies_in_between: bool,
    /// How much there is to do.
    pub(crate) long: bool,
    /// Two threads, in two pid namespaces, that have the same thread id.
    pub(crate) same_tids: Option<(usize, usize)>,
    /// A thread in whose process the barrier is forbidden.
    pub(crate) without_barriers: Option<usize>,
    /// The token that the locks begin with.
    pub(crate) token: u64,
}

impl Scenario {
    pub(crate) fn new(name: &'static str, threads: &[&[Act]]) -> Self {
        assert!(threads.len() <= THREADS, "{name}");
        let threads = threads.iter().map(|acts| acts.to_vec()).collect();
        Self {
            name,
            threads,
            deaths: 0,
            interrupts: 0,
            served: true,
            dies_in_between: true,
            long: false,
            same_tids: None,
            without_barriers: None,
            token: 0,
        }
    }

    pub(crate) fn deaths(self, deaths: usize) -> Self {
        Self { deaths, ..self }
    }

    pub(crate) fn interrupts(self, interrupts: usize) -> Self {
        Self { interrupts, ..self }
    }

    pub(crate) fn not_served(self) -> Self {
        Self { served: false, ..self }
    }

    pub(crate) fn not_in_between(self) -> Self {
        Self { dies_in_between: false, ..self }
    }

    pub(crate) fn long(self) -> Self {
        Self { long: true, ..self }
    }

    pub(crate) fn same_tids(self, one: usize, other: usize) -> Self {
        Self { same_tids: Some((one, other)), ..self }
    }

    pub(crate) fn without_barriers(self, thread: usize) -> Self {
        Self { without_barriers: Some(thread), ..self }
    }

    pub(crate) fn token(self, token: u64) -> Self {
        Self { token, ..self }
    }

    /// Whether it has so many states that it takes longer than a few seconds.
    pub fn is_long(&self) -> bool {
        self.long
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// How many of them may die.
    pub fn most_deaths(&self) -> usize {
        self.deaths
    }

    /// Visits every state, but no more than so many.
    pub fn explore(&self, most: usize, mut progress: impl FnMut(Progress)) -> Report {
        explorer::explore(self, most, &mut progress)
    }

    pub(crate) fn tid(&self, thread: usize) -> u32 {
        match self.same_tids {
            Some((one, other)) if thread == other => self.tid(one),
            _ => 11 + thread as u32,
        }
    }

    /// Whether it is one of the cases in which a sleep may have to end by its bound.
    pub(crate) fn oversleeps(&self) -> bool {
        !self.served || self.same_tids.is_some() || self.without_barriers.is_some()
    }

    /// Whether anybody reads what another may be writing to a record.
    pub(crate) fn reads(&self) -> bool {
        self.acts().any(|act| act == Act::Read)
    }

    fn acts(&self) -> impl Iterator<Item = Act> {
        self.threads.iter().flatten().copied()
    }
}

/// What a simulated thread runs.
pub(crate) fn run(scene: &'static Scene, thread: usize) {
    for (number, act) in scene.scenario.threads[thread].iter().enumerate() {
        step::call(Op::Act(number));
        match *act {
            Act::Lock(lock) => {
                if acquire(scene, lock, Deadline::Never) {
                    release(scene, lock);
                }
            }
            Act::TryLock | Act::TimedLock => {
                let deadline = if *act == Act::TryLock { Deadline::Now } else { Deadline::At };
                world::with(|world| world.threads[thread].armed = deadline == Deadline::At);
                if acquire(scene, 0, deadline) {
                    release(scene, 0);
                }
            }
            Act::Both => {
                if acquire(scene, 0, Deadline::Never) && acquire(scene, 1, Deadline::Never) {
                    release(scene, 0);
                    release(scene, 1);
                }
            }
            Act::Allocate => {
                if let Some(id) = allocate(scene, thread, number) {
                    free(scene, id);
                }
            }
            Act::Keep => {
                allocate(scene, thread, number);
            }
            Act::Exactly(id) => {
                if allocate_exact(scene, thread, number, id) {
                    free(scene, id);
                }
            }
            Act::Read => read(scene),
            Act::Claim => claim(scene),
        }
    }
    step::call(Op::Act(scene.scenario.threads[thread].len()));
}

fn stage(change: impl FnOnce(&mut Stage)) {
    let mut stage = world::with(|world| world.threads[world.current].stage);
    change(&mut stage);
    step::call(Op::Stage(stage));
}

fn tell(note: Note) {
    step::call(Op::Note(note));
}

fn failed(error: &Error) {
    let text = format!("an error: {error}");
    world::with(|world| world.ghost.wrong(text));
}

fn acquire(scene: &'static Scene, lock: usize, deadline: Deadline) -> bool {
    stage(|stage| stage.locks[lock] = Phase::Acquiring);
    match ask(scene, lock, deadline) {
        Ok(Acquired::Held { token }) => tell(Note::Enter { lock, token, dead: None }),
        Ok(Acquired::Recovered { token, dead }) => tell(Note::Enter { lock, token, dead: Some(dead) }),
        Ok(Acquired::TimedOut) => {
            tell(Note::Without { lock });
            if deadline == Deadline::Never {
                tell(Note::Wrong("it was told that a deadline passed that it did not set"));
            }
            return false;
        }
        Err(error) => {
            failed(&error);
            return false;
        }
    }
    true
}

/// As the user side does.
fn ask(scene: &'static Scene, lock: usize, deadline: Deadline) -> Result<Acquired> {
    let lock = ShmLock::new(Slot::new(scene.table, lock));
    match lock.acquire_at_once() {
        Some(token) => Ok(Acquired::Held { token }),
        None => lock.acquire(deadline),
    }
}

fn release(scene: &'static Scene, lock: usize) {
    tell(Note::Leave { lock });
    if let Err(error) = ShmLock::new(Slot::new(scene.table, lock)).release(Proof) {
        failed(&error);
    }
    stage(|stage| stage.locks[lock] = Phase::Outside);
}

/// Sixteen times the same letter: two words. A thread's next allocation has another.
fn label(thread: usize, act: usize) -> Label {
    let letter = char::from(b'A' + (thread + THREADS * (act % 2)) as u8);
    Label::new(letter.to_string().repeat(16)).expect("it is short")
}

fn is_label_of(thread: usize, found: &Label) -> bool {
    (0..2).any(|act| *found == label(thread, act))
}

fn allocate(scene: &'static Scene, thread: usize, act: usize) -> Option<usize> {
    stage(|stage| stage.allocating = true);
    match scene.table.allocate(&label(thread, act)) {
        Ok(id) => {
            let id = id.get() as usize - FIRST;
            tell(Note::Took { id });
            Some(id)
        }
        Err(error) => {
            if !matches!(error.kind(), ErrorKind::Exhausted { .. }) {
                failed(&error);
            }
            stage(|stage| stage.allocating = false);
            None
        }
    }
}

fn allocate_exact(scene: &'static Scene, thread: usize, act: usize, id: usize) -> bool {
    stage(|stage| stage.allocating = true);
    match scene.table.allocate_exact(LockId::new((FIRST + id) as u32), &label(thread, act)) {
        Ok(()) => {
            tell(Note::Took { id });
            true
        }
        Err(error) => {
            if !matches!(error.kind(), ErrorKind::AlreadyAllocated) {
                failed(&error);
            }
            stage(|stage| stage.allocating = false);
            false
        }
    }
}

fn free(scene: &'static Scene, id: usize) {
    tell(Note::Giving { id });
    match scene.table.free(LockId::new((FIRST + id) as u32), None) {
        Ok(()) => tell(Note::Gave { id }),
        Err(error) => failed(&error),
    }
}

fn read(scene: &'static Scene) {
    if let Some(allocation) = scene.table.read(FIRST)
        && allocation.generation.is_some()
        && !(0..THREADS).any(|thread| is_label_of(thread, &allocation.label))
    {
        tell(Note::Wrong("the record of an id that is allocated is not whole"));
    }
}

fn claim(scene: &'static Scene) {
    let slot = Slot::new(scene.table, 0);
    let word = &slot.hot().spare[1];
    let Ok(me) = scene.table.me() else { return };
    if scene.table.claim(word, me) {
        tell(Note::Claimed);
        tell(Note::Unclaiming);
        word.store(0, std::sync::atomic::Ordering::Release);
    }
}

/// What has to hold when all is quiet; the observer looks.
pub(crate) fn finish(scene: &'static Scene) {
    let acts: Vec<Act> = scene.scenario.acts().collect();
    let locks = acts.iter().any(|act| matches!(act, Act::Lock(0) | Act::TryLock | Act::TimedLock | Act::Both));
    let second = acts.iter().any(|act| matches!(act, Act::Lock(1) | Act::Both));
    for lock in (0..2).filter(|lock| [locks, second][*lock]) {
        look_at_lock(scene, lock);
    }
    if acts.iter().any(|act| matches!(act, Act::Allocate | Act::Keep | Act::Exactly(_))) {
        look_at_ids(scene);
    }
}

/// It can be taken, and every death is told.
fn look_at_lock(scene: &'static Scene, lock: usize) {
    let observer = scene.threads();
    match ask(scene, lock, Deadline::Now) {
        Ok(Acquired::Held { token }) => {
            world::with(|world| world.ghost.enter(observer, lock, token, None));
        }
        Ok(Acquired::Recovered { token, dead }) => {
            world::with(|world| world.ghost.enter(observer, lock, token, Some(dead)));
        }
        Ok(Acquired::TimedOut) if !scene.served() => {}
        Ok(Acquired::TimedOut) => world::with(|world| world.ghost.wrong("when all is quiet the lock is not free".to_owned())),
        Err(error) => failed(&error),
    }
}

/// Each id is free or whole, and each free one can be had.
fn look_at_ids(scene: &'static Scene) {
    let (ids, died, deaths) = world::with(|world| (world.ghost.ids, world.ghost.died_allocating, world.ghost.deaths));
    let wrong = |what: String| world::with(|world| world.ghost.wrong(what));
    let mut free = Vec::new();
    for (id, state) in ids.into_iter().enumerate() {
        let index = FIRST + id;
        if !scene.table.is_allocated(index) {
            free.push(index);
            if matches!(state, Id::Of(_)) {
                wrong(format!("id {index} is free, and somebody has it"));
            }
            continue;
        }
        let allocators = match state {
            Id::Of(thread) | Id::GivenBy(thread) => died | 1 << thread,
            _ => died,
        };
        let label_of =
            scene.table.read(index).filter(|allocation| allocation.generation.is_some()).map(|allocation| allocation.label);
        if !(0..THREADS)
            .any(|thread| allocators & 1 << thread != 0 && label_of.as_ref().is_some_and(|label| is_label_of(thread, label)))
        {
            wrong(format!("id {index} is allocated, and its label is {label_of:?}"));
        }
    }
    if deaths == 0 && scene.table.first_free() != free.first().copied() {
        wrong("nobody died, and a hint is wrong".to_owned());
    }
    let mut found = Vec::new();
    while let Ok(id) = scene.table.allocate(&label(0, 0)) {
        found.push(id.get() as usize);
    }
    found.sort_unstable();
    if found != free {
        wrong(format!("the ids {free:?} are free, and {found:?} can be allocated"));
    }
}

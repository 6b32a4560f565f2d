//! The simulated machine: memory with a store buffer for each thread, and what every thread is about to do.

use std::cell::{Cell, RefCell};

use crate::ghost::{Entered, Ghost, Note, Phase, Stage};
use crate::hash;
use crate::kernel::Exit;
use crate::scene::Scene;
use crate::trace::Trace;

/// What a thread asks for. Each is one step, but for those that nobody else can notice.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Load(usize),
    Store(usize, u64),
    Change(usize, Change),
    Fence,
    /// Sleeps while the word has this value.
    Wait(usize, u64),
    Wake(usize),
    /// `membarrier`: every thread's stores become visible.
    Barrier,
    /// Whether the deadline has passed.
    Clock,
    /// Whether this thread has ended.
    Gone(usize),
    /// What the scenario tells of what it was told.
    Note(Note),
    /// What the thread is doing, should it die.
    Stage(Stage),
    /// The thread is at the beginning of an act, and remembers nothing.
    Act(usize),
    /// It is at the beginning of a loop, and remembers this of what came before in the act.
    Loop(u64),
}

/// A read and a write in one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Set(u64),
    Or(u64),
    And(u64),
    Exchange(u64, u64),
}

impl Change {
    fn apply(self, before: u64) -> u64 {
        match self {
            Self::Set(value) => value,
            Self::Or(bits) => before | bits,
            Self::And(bits) => before & bits,
            Self::Exchange(old, new) => {
                if before == old {
                    new
                } else {
                    before
                }
            }
        }
    }
}

/// What a thread did that nobody else could notice: it is taken back when the thread dies before it.
#[derive(Clone, Copy, Hash, Debug)]
pub(crate) enum Private {
    /// It wrote to a word that only it looks at.
    Wrote {
        at: usize,
        before: u64,
    },
    /// Its last store is still in its buffer.
    Buffered,
    Stage(Stage),
    /// It is about to release [`Thread::leaving`].
    Left,
    /// It was told that it has a lock.
    Entered {
        before: Entered,
        woken: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// It is about to do that.
    Ready(Op),
    /// It sleeps at that word.
    Asleep(usize),
    /// It returned.
    Done,
    /// It is dead, and the kernel has yet to do that for it.
    Exiting(Exit),
    /// It is dead, and that can be proved.
    Gone,
}

pub(crate) struct Thread {
    pub(crate) state: State,
    /// Stores that nobody else sees, the oldest first.
    pub(crate) buffer: Vec<(usize, u64)>,
    /// What it did since its last step.
    pub(crate) private: Vec<Private>,
    /// The fingerprint of all it was told: what it will do follows from that.
    pub(crate) seen: u128,
    pub(crate) stage: Stage,
    /// The number of its act.
    act: usize,
    /// The lock that it releases with its next step: until then it is inside.
    pub(crate) leaving: Option<usize>,
    /// It has a deadline, which has not passed.
    pub(crate) armed: bool,
    /// It has been woken, and has neither the lock nor passed that on.
    pub(crate) woken: bool,
}

impl Thread {
    pub(crate) fn lives(&self) -> bool {
        matches!(self.state, State::Ready(_) | State::Asleep(_))
    }
}

pub(crate) struct World {
    pub(crate) scene: &'static Scene,
    values: Vec<u64>,
    fingerprint: u128,
    pub(crate) threads: Vec<Thread>,
    /// The thread that runs; one more than there are is the observer, who comes when all is quiet, and whose operations are no steps.
    pub(crate) current: usize,
    pub(crate) ghost: Ghost,
    pub(crate) trace: Option<Trace>,
}

thread_local! {
    static BASE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// The number of the word with this address.
pub(crate) fn at(address: usize) -> usize {
    let (base, length) = BASE.get();
    let offset = address.wrapping_sub(base);
    assert!(offset < length, "{address:#x} is not in the simulated memory");
    offset / 4
}

/// Puts a world in the place of the one before.
pub(crate) fn begin(scene: &'static Scene, traced: bool) {
    BASE.set((scene.base(), scene.bytes()));
    WORLD.with_borrow_mut(|world| {
        let world = world.get_or_insert_with(|| World::new(scene));
        world.reset(scene);
        world.trace = traced.then(|| Trace::new(scene));
    });
}

/// Looks at the world, or changes it.
pub(crate) fn with<T>(act: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| act(world.as_mut().expect("there is a world while something is simulated")))
}

impl World {
    fn new(scene: &'static Scene) -> Self {
        Self { scene, values: Vec::new(), fingerprint: 0, threads: Vec::new(), current: 0, ghost: Ghost::default(), trace: None }
    }

    fn reset(&mut self, scene: &'static Scene) {
        self.scene = scene;
        self.values.clone_from(&scene.initial);
        self.fingerprint = scene.fingerprint;
        self.ghost = scene.ghost.clone();
        self.threads.truncate(scene.threads());
        for thread in &mut self.threads {
            thread.buffer.clear();
            thread.private.clear();
        }
        while self.threads.len() < scene.threads() {
            self.threads.push(Thread {
                state: State::Done,
                buffer: Vec::new(),
                private: Vec::new(),
                seen: 0,
                stage: Stage::default(),
                act: 0,
                leaving: None,
                armed: false,
                woken: false,
            });
        }
        for (number, thread) in self.threads.iter_mut().enumerate() {
            thread.state = State::Done;
            thread.seen = number as u128 + 1;
            (thread.act, thread.leaving) = (0, None);
            (thread.stage, thread.armed, thread.woken) = (Stage::default(), false, false);
        }
    }

    pub(crate) fn value(&self, at: usize) -> u64 {
        self.values[at]
    }

    pub(crate) fn set_value(&mut self, at: usize, value: u64) {
        self.fingerprint ^= hash::word(at, self.values[at]) ^ hash::word(at, value);
        self.values[at] = value;
    }

    /// What a thread sees there.
    pub(crate) fn view(&self, thread: usize, at: usize) -> u64 {
        self.buffered(thread, at).unwrap_or(self.values[at])
    }

    fn buffered(&self, thread: usize, at: usize) -> Option<u64> {
        self.threads[thread].buffer.iter().rev().find(|store| store.0 == at).map(|store| store.1)
    }

    /// Does at once what nobody else can notice, and whatever the observer wants.
    pub(crate) fn attempt(&mut self, op: Op) -> Option<u64> {
        let me = self.current;
        if me == self.threads.len() {
            return Some(self.observe(op));
        }
        let value = match op {
            Op::Load(at) if self.scene.is_private(at) => self.values[at],
            Op::Load(at) => self.buffered(me, at)?,
            Op::Store(at, value) if self.scene.is_private(at) => {
                let before = self.values[at];
                self.set_value(at, value);
                self.threads[me].private.push(Private::Wrote { at, before });
                0
            }
            Op::Store(at, value) => {
                self.threads[me].buffer.push((at, value));
                self.threads[me].private.push(Private::Buffered);
                0
            }
            Op::Stage(stage) => {
                let before = std::mem::replace(&mut self.threads[me].stage, stage);
                self.threads[me].private.push(Private::Stage(before));
                0
            }
            Op::Act(number) => {
                self.threads[me].act = number;
                self.threads[me].seen = hash::mix(me as u128 + 1, number as u64);
                0
            }
            Op::Loop(rest) => {
                let act = self.threads[me].act as u64;
                self.threads[me].seen = hash::mix(hash::mix(hash::mix(me as u128 + 1, act), 1), rest);
                0
            }
            Op::Note(Note::Enter { lock, token, dead }) => {
                let before = self.ghost.enter(me, lock, token, dead);
                let thread = &mut self.threads[me];
                thread.stage.locks[lock] = Phase::Inside;
                thread.armed = false;
                thread.private.push(Private::Entered { before, woken: std::mem::take(&mut thread.woken) });
                0
            }
            Op::Note(Note::Leave { lock }) => {
                self.threads[me].leaving = Some(lock);
                self.threads[me].private.push(Private::Left);
                0
            }
            Op::Clock if !self.threads[me].armed => 1,
            _ => return None,
        };
        if let Some(trace) = &mut self.trace {
            trace.privately(me, op, value);
        }
        Some(value)
    }

    /// An operation of the observer.
    fn observe(&mut self, op: Op) -> u64 {
        match op {
            Op::Load(at) => self.values[at],
            Op::Store(at, value) => {
                self.set_value(at, value);
                0
            }
            Op::Change(at, change) => self.change(at, change),
            Op::Gone(thread) => self.is_gone(thread).into(),
            Op::Wait(..) => {
                self.ghost.wrong("it would have to sleep although all is quiet".to_owned());
                0
            }
            Op::Clock => 1,
            _ => 0,
        }
    }

    pub(crate) fn is_gone(&self, thread: usize) -> bool {
        self.threads.get(thread).is_some_and(|thread| matches!(thread.state, State::Gone))
    }

    pub(crate) fn change(&mut self, at: usize, change: Change) -> u64 {
        let before = self.values[at];
        self.set_value(at, change.apply(before));
        before
    }

    /// All that was stored becomes visible.
    pub(crate) fn flush(&mut self, thread: usize) {
        for (at, value) in std::mem::take(&mut self.threads[thread].buffer) {
            self.set_value(at, value);
        }
        // What was done before can no longer be taken back.
        let private = &self.threads[thread].private;
        if let Some(last) = private.iter().rposition(|done| matches!(done, Private::Buffered)) {
            self.settle(thread, last + 1);
        }
    }

    /// What was certainly stored when another's barrier comes becomes visible: not what the thread did since its last step, which it may
    /// just as well not have done yet. (If it has, that may become visible one by one before.)
    pub(crate) fn flush_for_another(&mut self, thread: usize) {
        let fresh = self.threads[thread].private.iter().filter(|done| matches!(done, Private::Buffered)).count();
        let old = self.threads[thread].buffer.len() - fresh;
        let visible: Vec<(usize, u64)> = self.threads[thread].buffer.drain(..old).collect();
        for (at, value) in visible {
            self.set_value(at, value);
        }
    }

    /// The first so many of the things that a thread did can no longer be taken back.
    pub(crate) fn settle(&mut self, thread: usize, things: usize) {
        let leaves = self.threads[thread].private.drain(..things).any(|done| matches!(done, Private::Left));
        if leaves {
            self.leave(thread);
        }
    }

    /// It is outside of the lock that it is about to release.
    pub(crate) fn leave(&mut self, number: usize) {
        let thread = &mut self.threads[number];
        let lock = thread.leaving.take().expect("it said so");
        thread.stage.locks[lock] = Phase::Releasing;
        self.ghost.leave(number, lock);
    }

    /// The oldest store becomes visible.
    pub(crate) fn drain(&mut self, number: usize) {
        let thread = &mut self.threads[number];
        let fresh = thread.private.iter().filter(|done| matches!(done, Private::Buffered)).count();
        let old = thread.buffer.len() > fresh;
        let (at, value) = thread.buffer.remove(0);
        if !old {
            let first = thread.private.iter().position(|done| matches!(done, Private::Buffered)).expect("it was just counted");
            self.settle(number, first + 1);
        }
        if let Some(trace) = &mut self.trace {
            trace.drained(number, old, at, self.values[at], value);
        }
        self.set_value(at, value);
    }

    /// Takes back what a thread did privately, but for the first so many.
    pub(crate) fn undo(&mut self, number: usize, keep: usize) {
        while self.threads[number].private.len() > keep {
            match self.threads[number].private.pop().expect("there are more") {
                Private::Wrote { at, before } => self.set_value(at, before),
                Private::Buffered => {
                    self.threads[number].buffer.pop();
                }
                Private::Left => self.threads[number].leaving = None,
                Private::Stage(before) => self.threads[number].stage = before,
                Private::Entered { before, woken } => {
                    self.ghost.take_back(before);
                    let thread = &mut self.threads[number];
                    thread.stage.locks[before.lock] = Phase::Acquiring;
                    thread.woken = woken;
                }
            }
        }
    }

    /// What tells this state from all others.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut all = hash::mix(self.fingerprint, 0);
        for thread in &self.threads {
            let (state, rest) = match &thread.state {
                State::Ready(_) => (0, thread.seen),
                State::Asleep(at) => (1, hash::mix(thread.seen, *at as u64)),
                State::Done => (2, 0),
                State::Exiting(exit) => (3, hash::of(exit)),
                State::Gone => (4, 0),
            };
            let rest =
                hash::of(&(rest, &thread.buffer, &thread.private, thread.stage, thread.leaving, thread.armed, thread.woken));
            all = hash::mix(hash::mix(hash::mix(all, state), rest as u64), (rest >> 64) as u64);
        }
        let ghost = hash::of(&self.ghost);
        hash::mix(hash::mix(all, ghost as u64), (ghost >> 64) as u64)
    }
}

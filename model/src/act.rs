//! The program of a simulated thread, and its reports to the oracle.

use crate::ghost::{Leaving, Note, Phase, Stage};
use crate::lock::ShmLock;
use crate::op::Op;
use crate::scenario::Act;
use crate::scene::{FIRST, Scene, THREADS};
use crate::world;
use crate::{Acquired, Condition, Deadline, Error, ErrorKind, Label, LockId, Proof, RawLock, Result, step, sys};

/// What a simulated thread runs.
pub(crate) fn run(scene: &'static Scene, thread: usize) {
    for (number, act) in scene.scenario.threads[thread].iter().enumerate() {
        step::call(Op::Act(number));
        match *act {
            Act::Lock(lock) => {
                if acquire(scene, lock, Deadline::Never) {
                    mark_consistent(scene, lock);
                    release(scene, lock);
                }
            }
            Act::Leave(lock) => {
                if acquire(scene, lock, Deadline::Never) {
                    release(scene, lock);
                }
            }
            Act::Panic(lock) => {
                if acquire(scene, lock, Deadline::Never) {
                    release_in(scene, lock, Condition::Panicked);
                }
            }
            Act::TryLock | Act::TimedLock => {
                let deadline = if *act == Act::TryLock { Deadline::Now } else { Deadline::At };
                world::with(|world| world.threads[thread].armed = deadline == Deadline::At);
                if acquire(scene, 0, deadline) {
                    mark_consistent(scene, 0);
                    release(scene, 0);
                }
            }
            Act::Both => {
                if acquire(scene, 0, Deadline::Never) && acquire(scene, 1, Deadline::Never) {
                    for lock in [0, 1] {
                        mark_consistent(scene, lock);
                        release(scene, lock);
                    }
                }
            }
            Act::End(lock) => {
                if acquire(scene, lock, Deadline::Never) {
                    end(&[lock]);
                }
            }
            Act::EndBoth => {
                if acquire(scene, 0, Deadline::Never) && acquire(scene, 1, Deadline::Never) {
                    end(&[0, 1]);
                }
            }
            Act::Late(lock) => {
                if acquire(scene, lock, Deadline::Never) {
                    release_late(scene, lock);
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

pub(crate) fn failed(error: &Error) {
    let text = format!("an error: {error}");
    world::with(|world| world.ghost.wrong(text));
}

/// Acquires a lock. False when the deadline passed first.
fn acquire(scene: &'static Scene, lock: usize, deadline: Deadline) -> bool {
    stage(|stage| stage.locks[lock] = Phase::Acquiring);
    match ask(scene, lock, deadline) {
        Ok(Acquired::Held { token }) => tell(Note::Enter { lock, token, told: None }),
        Ok(Acquired::Recovered(recovery)) => tell(Note::Enter { lock, token: recovery.token, told: Some(recovery.death) }),
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

/// Acquires a lock as the user side does.
pub(crate) fn ask(scene: &'static Scene, lock: usize, deadline: Deadline) -> Result<Acquired> {
    let lock = ShmLock::new(scene.slot(lock));
    match lock.acquire_at_once() {
        Some(token) => Ok(Acquired::Held { token }),
        None => lock.acquire(deadline),
    }
}

fn is_told(lock: usize) -> bool {
    world::with(|world| world.threads[world.current].stage.told[lock])
}

/// Marks a lock consistent as a guard does, if a death was reported.
fn mark_consistent(scene: &'static Scene, lock: usize) {
    if is_told(lock) {
        match ShmLock::new(scene.slot(lock)).mark_consistent() {
            Ok(()) => tell(Note::Marked { lock }),
            Err(error) => failed(&error),
        }
    }
}

fn release(scene: &'static Scene, lock: usize) {
    release_in(scene, lock, if is_told(lock) { Condition::Inconsistent } else { Condition::Consistent });
}

fn release_in(scene: &'static Scene, lock: usize, condition: Condition) {
    tell(Note::Leave { lock, leaving: Leaving::Released(condition) });
    if let Err(error) = ShmLock::new(scene.slot(lock)).release(Proof(condition)) {
        failed(&error);
    }
    stage(|stage| (stage.locks[lock], stage.told[lock]) = (Phase::Outside, false));
}

/// Releases a lock that was marked as that of a dead owner.
fn release_late(scene: &'static Scene, lock: usize) {
    tell(Note::Leave { lock, leaving: Leaving::Ended });
    sys::end_thread();
    let released = ShmLock::new(scene.slot(lock)).release(Proof(Condition::Consistent));
    if !matches!(released, Err(error) if matches!(error.kind(), ErrorKind::Lost)) {
        tell(Note::Wrong("it releases a lock that it has lost"));
    }
    stage(|stage| (stage.locks[lock], stage.told[lock]) = (Phase::Outside, false));
}

/// Ends the thread, which holds these locks.
fn end(locks: &[usize]) {
    for lock in locks {
        tell(Note::Leave { lock: *lock, leaving: Leaving::Ended });
    }
    sys::end_thread();
    step::call(Op::End);
}

/// Sixteen times the same letter: two words. A thread's next allocation has another.
pub(crate) fn label(thread: usize, act: usize) -> Label {
    let letter = char::from(b'A' + (thread + THREADS * (act % 2)) as u8);
    Label::new(letter.to_string().repeat(16)).expect("it is short")
}

pub(crate) fn is_label_of(thread: usize, found: &Label) -> bool {
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
    let slot = scene.slot(0);
    let word = &slot.hot().spare[1];
    let Ok(me) = scene.table.me() else { return };
    if scene.table.claim(word, me) {
        tell(Note::Claimed);
        tell(Note::Unclaiming);
        word.store(0, std::sync::atomic::Ordering::Release);
    }
}

//! The program of a simulated thread, and its reports to the oracle.

use real_core::{Error, ErrorKind, Label, LockId, OwnerKind, Result};

use crate::bounds::{FIRST, THREADS};
use crate::deadline::Deadline;
use crate::death::{Acquired, Condition, Proof};
use crate::lock::ShmLock;
use crate::note::{Leaving, Note, Phase, Stage};
use crate::op::Op;
use crate::raw_lock::RawLock;
use crate::scenario::Act;
use crate::setup::Setup;
use crate::{state, step, sys};

/// Runs the acts of a simulated thread.
pub(crate) fn run(setup: &'static Setup, thread: usize) {
    for (number, act) in setup.scenario().threads[thread].iter().enumerate() {
        step::call(Op::Act(number));
        match *act {
            Act::Lock(lock) => {
                if acquire(setup, lock, Deadline::Never) {
                    mark_consistent(setup, lock);
                    release(setup, lock);
                }
            }
            Act::Send(lock) => {
                if acquire_as(setup, lock, OwnerKind::Process, Deadline::Never) {
                    mark_consistent_as(setup, lock, OwnerKind::Process);
                    release_as(setup, lock, OwnerKind::Process, condition(lock));
                }
            }
            Act::Leave(lock) => {
                if acquire(setup, lock, Deadline::Never) {
                    release(setup, lock);
                }
            }
            Act::Panic(lock) => {
                if acquire(setup, lock, Deadline::Never) {
                    release_in(setup, lock, Condition::Panicked);
                }
            }
            Act::TryLock | Act::TimedLock => {
                let deadline = if *act == Act::TryLock { Deadline::Now } else { Deadline::At };
                state::with(|state| state.threads[thread].armed = deadline == Deadline::At);
                if acquire(setup, 0, deadline) {
                    mark_consistent(setup, 0);
                    release(setup, 0);
                }
            }
            Act::Both => {
                if acquire(setup, 0, Deadline::Never) && acquire(setup, 1, Deadline::Never) {
                    for lock in [0, 1] {
                        mark_consistent(setup, lock);
                        release(setup, lock);
                    }
                }
            }
            Act::End(lock) => {
                if acquire(setup, lock, Deadline::Never) {
                    end(&[lock]);
                }
            }
            Act::EndBoth => {
                if acquire(setup, 0, Deadline::Never) && acquire(setup, 1, Deadline::Never) {
                    end(&[0, 1]);
                }
            }
            Act::Late(lock) => {
                if acquire(setup, lock, Deadline::Never) {
                    release_late(setup, lock);
                }
            }
            Act::Allocate => {
                if let Some(id) = allocate(setup, thread, number) {
                    free(setup, id);
                }
            }
            Act::Keep => {
                allocate(setup, thread, number);
            }
            Act::Exactly(id) => {
                if allocate_exact(setup, thread, number, id) {
                    free(setup, id);
                }
            }
            Act::Read => read(setup),
            Act::Claim => claim(setup),
        }
    }
    step::call(Op::Act(setup.scenario().threads[thread].len()));
}

fn stage(change: impl FnOnce(&mut Stage)) {
    let mut stage = state::with(|state| state.threads[state.current].stage);
    change(&mut stage);
    step::call(Op::Stage(stage));
}

fn report(note: Note) {
    step::call(Op::Note(note));
}

pub(crate) fn failed(error: &Error) {
    let text = format!("unexpected error: {error}");
    state::with(|state| state.oracle.wrong(text));
}

/// Acquires a lock for the thread. Returns false if the deadline passes first.
fn acquire(setup: &'static Setup, lock: usize, deadline: Deadline) -> bool {
    acquire_as(setup, lock, OwnerKind::Thread, deadline)
}

fn acquire_as(setup: &'static Setup, lock: usize, owner: OwnerKind, deadline: Deadline) -> bool {
    stage(|stage| stage.locks[lock] = Phase::Acquiring);
    let acquired = match owner {
        OwnerKind::Process => ShmLock::new(setup.slot(lock)).acquire_for_process(deadline),
        _ => acquire_raw(setup, lock, deadline),
    };
    match acquired {
        Ok(Acquired::Held { token }) => report(Note::Enter { lock, token, reported: None }),
        Ok(Acquired::Recovered(recovery)) => report(Note::Enter { lock, token: recovery.token, reported: Some(recovery.death) }),
        Ok(Acquired::TimedOut) => {
            report(Note::TimedOut { lock });
            if deadline == Deadline::Never {
                report(Note::Wrong("an acquisition without a deadline timed out"));
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

/// Acquires a lock as `lock_core::Lock::lock` does.
pub(crate) fn acquire_raw(setup: &'static Setup, lock: usize, deadline: Deadline) -> Result<Acquired> {
    let lock = ShmLock::new(setup.slot(lock));
    match lock.try_acquire_fast() {
        Some(token) => Ok(Acquired::Held { token }),
        None => lock.acquire(deadline),
    }
}

fn is_reported(lock: usize) -> bool {
    state::with(|state| state.threads[state.current].stage.reported[lock])
}

/// Marks a lock consistent as a guard does, if a death was reported.
fn mark_consistent(setup: &'static Setup, lock: usize) {
    mark_consistent_as(setup, lock, OwnerKind::Thread);
}

fn mark_consistent_as(setup: &'static Setup, lock: usize, owner: OwnerKind) {
    if is_reported(lock) {
        match ShmLock::new(setup.slot(lock)).mark_consistent(owner, None) {
            Ok(()) => report(Note::Marked { lock }),
            Err(error) => failed(&error),
        }
    }
}

fn release(setup: &'static Setup, lock: usize) {
    release_in(setup, lock, condition(lock));
}

fn condition(lock: usize) -> Condition {
    if is_reported(lock) { Condition::Inconsistent } else { Condition::Consistent }
}

fn release_in(setup: &'static Setup, lock: usize, condition: Condition) {
    release_as(setup, lock, OwnerKind::Thread, condition);
}

fn release_as(setup: &'static Setup, lock: usize, owner: OwnerKind, condition: Condition) {
    report(Note::Leave { lock, leaving: Leaving::Released(condition) });
    if let Err(error) = ShmLock::new(setup.slot(lock)).release(Proof(owner, condition)) {
        failed(&error);
    }
    stage(|stage| (stage.locks[lock], stage.reported[lock]) = (Phase::Outside, false));
}

/// Releases a lock after it was marked as that of a dead owner.
fn release_late(setup: &'static Setup, lock: usize) {
    report(Note::Leave { lock, leaving: Leaving::Ended });
    sys::end_thread();
    let released = ShmLock::new(setup.slot(lock)).release(Proof(OwnerKind::Thread, Condition::Consistent));
    if !matches!(released, Err(error) if matches!(error.kind(), ErrorKind::Lost)) {
        report(Note::Wrong("the release of a lost lock is not refused"));
    }
    stage(|stage| (stage.locks[lock], stage.reported[lock]) = (Phase::Outside, false));
}

/// Ends the thread while it holds these locks.
fn end(locks: &[usize]) {
    for lock in locks {
        report(Note::Leave { lock: *lock, leaving: Leaving::Ended });
    }
    sys::end_thread();
    step::call(Op::End);
}

/// Returns a label of sixteen equal letters, which fills two words. Successive allocations of a thread use different letters.
pub(crate) fn label(thread: usize, act: usize) -> Label {
    let letter = char::from(b'A' + (thread + THREADS * (act % 2)) as u8);
    Label::new(letter.to_string().repeat(16)).expect("16 bytes are a valid label")
}

pub(crate) fn is_label_of(thread: usize, found: &Label) -> bool {
    (0..2).any(|act| *found == label(thread, act))
}

fn allocate(setup: &'static Setup, thread: usize, act: usize) -> Option<usize> {
    stage(|stage| stage.allocating = true);
    match setup.table.allocate(&label(thread, act)) {
        Ok(id) => {
            let id = id.get() as usize - FIRST;
            report(Note::Allocated { id });
            Some(id)
        }
        Err(error) => {
            if !matches!(error.kind(), ErrorKind::Exhausted) {
                failed(&error);
            }
            stage(|stage| stage.allocating = false);
            None
        }
    }
}

fn allocate_exact(setup: &'static Setup, thread: usize, act: usize, id: usize) -> bool {
    stage(|stage| stage.allocating = true);
    match setup.table.allocate_exact(LockId::new((FIRST + id) as u32), &label(thread, act)) {
        Ok(()) => {
            report(Note::Allocated { id });
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

fn free(setup: &'static Setup, id: usize) {
    report(Note::Freeing { id });
    match setup.table.free(LockId::new((FIRST + id) as u32), None) {
        Ok(()) => report(Note::Freed { id }),
        Err(error) => failed(&error),
    }
}

fn read(setup: &'static Setup) {
    if let Some(allocation) = setup.table.read(FIRST)
        && allocation.generation.is_some()
        && !(0..THREADS).any(|thread| is_label_of(thread, &allocation.label))
    {
        report(Note::Wrong("the record of an allocated id is incomplete"));
    }
}

fn claim(setup: &'static Setup) {
    let slot = setup.slot(0);
    let word = &slot.line().spare[2];
    let Ok(me) = setup.table.current_owner() else { return };
    if setup.table.claim(word, me) {
        report(Note::Claimed);
        report(Note::ReleasingClaim);
        word.store(0, std::sync::atomic::Ordering::Release);
    }
}

//! Commands that repeat critical sections and allocations, and commands that race.

use std::hint::spin_loop;
use std::path::Path;
use std::thread;

use lock_core::{Cause, Labels, Lock, OwnerDeath, Result, Store, Tokens};

use super::held_guard::HeldGuard;
use super::worker::Worker;
use crate::need;
use crate::protocol::Fields;
use crate::shared_memory::{Place, SharedMemory, Wrong};

/// A function that acquires a lock; `None` if it is busy.
type Acquire<G> = fn(&'static Lock) -> Result<Option<G>>;

impl Worker {
    pub(super) fn repeat_or_race(&mut self, verb: &str, arguments: &[&str]) -> Option<Result<Fields>> {
        Some(match (verb, arguments) {
            ("sections", [memory, slot, rounds, pace, locks @ ..]) => {
                self.sections(shared(memory), number(slot), number(rounds), number(pace), locks)
            }
            ("send_sections", [memory, slot, rounds, pace, locks @ ..]) => self.sections_by(
                |lock| lock.lock_send().map(Some),
                shared(memory),
                number(slot),
                number(rounds),
                number(pace),
                locks,
            ),
            ("try_sections", [memory, slot, rounds, pace, locks @ ..]) => {
                self.sections_by(Lock::try_lock, shared(memory), number(slot), number(rounds), number(pace), locks)
            }
            ("churn", [memory, rounds]) => self.churn(shared(memory), number(rounds)),
            ("race_for", [memory, id]) => {
                let (memory, id) = (shared(memory), super::worker::id_of(id));
                self.begin();
                memory.wait_for_go();
                self.store().allocate_and_retrieve(id, "").map(|_| Fields::new())
            }
            ("race_to_break", [memory, id]) => {
                let memory = shared(memory);
                self.begin();
                memory.wait_for_go();
                return self.open_or_list("break", &[id]);
            }
            ("race_to_try", [memory, lock]) => {
                let memory = shared(memory);
                if let Err(error) = self.handle(lock) {
                    return Some(Err(error));
                }
                self.begin();
                memory.wait_for_go();
                return self.acquire_or_release("try_lock", &[lock]);
            }
            ("race_to_open", [memory, mode, url]) => {
                let memory = shared(memory);
                self.begin();
                memory.wait_for_go();
                return self.open_or_list("open", &[mode, url]);
            }
            ("look", [memory]) => self.look(shared(memory), |store| store.held().map(drop)),
            ("look_for_waiters", [memory]) => self.look(shared(memory), |store| store.waiting().map(drop)),
            ("try_times", [memory, lock, count]) => self.try_again_and_again(shared(memory), lock, number(count)),
            _ => return None,
        })
    }

    /// Executes `rounds` critical sections (0: until stopped), on the locks in turn; see [`Place::add_one`].
    fn sections(&self, memory: SharedMemory, slot: usize, rounds: usize, pace: usize, locks: &[&str]) -> Result<Fields> {
        self.sections_by(|lock| lock.lock().map(Some), memory, slot, rounds, pace, locks)
    }

    /// As [`Self::sections`], with another function to acquire.
    ///
    /// Repeats an attempt that finds the lock busy.
    fn sections_by<G: HeldGuard>(
        &self,
        acquire: Acquire<G>,
        memory: SharedMemory,
        slot: usize,
        rounds: usize,
        pace: usize,
        locks: &[&str],
    ) -> Result<Fields> {
        let handles = locks.iter().map(|lock| self.handle(lock)).collect::<Result<Vec<_>>>()?;
        self.begin();
        memory.wait_for_go();
        let mut round = 0;
        while (rounds == 0 || round < rounds) && !memory.is_stopped() {
            let turn = (round + slot) % handles.len();
            let place = memory.place(turn);
            match acquire(handles[turn]).inspect_err(|_| place.note(Wrong::Failed))? {
                Some(guard) => self.section(memory, place, guard, slot, round, pace)?,
                None => {
                    thread::yield_now();
                    continue;
                }
            }
            round += 1;
        }
        Ok(Fields::new().with("rounds", round))
    }

    fn section(
        &self,
        memory: SharedMemory,
        place: Place,
        mut guard: impl HeldGuard,
        slot: usize,
        round: usize,
        pace: usize,
    ) -> Result<()> {
        let before = place.inside();
        place.enter(std::process::id());
        self.check_entry(memory, place, &guard, before);
        guard.mark_consistent().inspect_err(|_| place.note(Wrong::Failed))?;
        place.add_one(slot, || {
            (0..pace).for_each(|_| spin_loop());
            // Yields sometimes, so that another process would enter if the lock did not exclude it.
            if round.is_multiple_of(8) {
                thread::yield_now();
            }
        });
        place.leave();
        guard.unlock().inspect_err(|_| place.note(Wrong::Failed))
    }

    /// Checks the guard's report against the previous owner's mark, and completes a dead owner's section.
    fn check_entry(&self, memory: SharedMemory, place: Place, guard: &impl HeldGuard, before: u64) {
        let claims = self.peer.suite.capabilities();
        if before != 0 && !memory.was_killed(before) {
            place.note(Wrong::TwoInside);
        }
        match guard.recovered() {
            None if before != 0 && claims.owner_death == OwnerDeath::Reported => place.note(Wrong::Untold),
            None => {}
            Some(death) => match &death.holder {
                // The mark may be from an earlier death, if the owner after it was killed before it left its own mark.
                Some(holder) if u64::from(holder.pid) == before || memory.was_killed(holder.pid.into()) => {}
                Some(_) if before != 0 => place.note(Wrong::Misnamed),
                Some(_) => place.note(Wrong::Invented),
                None if memory.kills() == 0 => place.note(Wrong::Invented),
                _ => {}
            },
        }
        // In these cases the suite ends owners only by killing their processes.
        let ended = if need::SESSIONS.is_met(&self.peer.suite) { Cause::SessionEnded } else { Cause::ProcessEnded };
        if guard.recovered().is_some_and(|death| ![Cause::Unknown, ended].contains(&death.cause)) {
            place.note(Wrong::Cause);
        }
        if before != 0 {
            place.note_death();
            place.repair();
        }
        if claims.tokens == Tokens::Fencing && place.exchange_token(guard.token()) >= guard.token() {
            place.note(Wrong::Token);
        }
    }

    /// Allocates and frees ids.
    ///
    /// An id with two owners at a time is a violation, which the words of that id show.
    fn churn(&self, memory: SharedMemory, rounds: usize) -> Result<Fields> {
        let store = self.store();
        let label = if self.peer.suite.capabilities().labels == Labels::Kept { "churn" } else { "" };
        self.begin();
        memory.wait_for_go();
        let mut round = 0;
        while (rounds == 0 || round < rounds) && !memory.is_stopped() {
            let lock = store.allocate(label)?;
            let place = memory.place(lock.id().index());
            // An id whose owner was killed stays allocated, so any mark belongs to a second owner.
            if place.inside() != 0 {
                place.note(Wrong::TwoInside);
            }
            place.enter(std::process::id());
            if round.is_multiple_of(8) {
                thread::yield_now();
            }
            if place.inside() != u64::from(std::process::id()) {
                place.note(Wrong::TwoInside);
            }
            place.leave();
            lock.free()?;
            round += 1;
        }
        Ok(Fields::new().with("rounds", round))
    }

    /// Queries the store until stopped, at least once.
    fn look(&self, memory: SharedMemory, query: impl Fn(&Store) -> Result<()>) -> Result<Fields> {
        let store = self.store();
        self.begin();
        memory.wait_for_go();
        let mut looks = 0;
        while looks == 0 || !memory.is_stopped() {
            query(&store)?;
            looks += 1;
        }
        Ok(Fields::new().with("looks", looks))
    }

    /// Tries a lock that no other thread locks, and then stops the other threads.
    ///
    /// Answers how often the lock was busy.
    fn try_again_and_again(&self, memory: SharedMemory, lock: &str, count: usize) -> Result<Fields> {
        let lock = self.handle(lock)?;
        self.begin();
        memory.wait_for_go();
        let (mut tries, mut busy) = (0, 0);
        while tries < count {
            tries += 1;
            match lock.try_lock()? {
                Some(guard) => guard.unlock()?,
                None => busy += 1,
            }
        }
        memory.stop();
        Ok(Fields::new().with("tries", tries).with("busy_times", busy))
    }
}

pub(super) fn shared(path: &str) -> SharedMemory {
    SharedMemory::open(Path::new(path)).expect("the shared memory can be opened")
}

pub(super) fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

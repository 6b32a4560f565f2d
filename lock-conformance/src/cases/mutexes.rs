//! Robust mutexes of the program.
//!
//! Locks of a store that a dying thread holds must not keep the kernel from recovering its mutexes.

use super::trying::MANY;
use super::{cases, with_capacity};
use crate::fixture::Fixture;
use crate::process::Thread;

cases! { "owner_death";
    robust_mutexes_of_a_process_with_many_locks_are_recovered [PROCESSES NUMBERED CHOSEN];
    robust_mutexes_of_a_thread_with_many_locks_are_recovered [PROCESSES NUMBERED CHOSEN];
}

/// Starts a process that has opened the case's store with a capacity for many locks.
fn process(fixture: &Fixture) -> Thread {
    fixture.peer_with(&with_capacity(fixture, &(MANY + 100).to_string()))
}

/// A thread that holds many locks, and mutexes that it locked before, between and after them.
struct Holder {
    thread: Thread,
    mutexes: [String; 3],
}

impl Holder {
    fn new(fixture: &Fixture, thread: Thread) -> Self {
        let mutexes = ["before", "between", "after"].map(|when| {
            let path = fixture.dir().join(format!("mutex-{when}"));
            path.into_os_string().into_string().expect("the scratch path is text")
        });
        let [before, between, after] = &mutexes;
        let (half, all) = ((MANY / 2).to_string(), MANY.to_string());
        thread.must("make_mutex", &[before]);
        thread.must("lock_range", &["0", &half]);
        thread.must("make_mutex", &[between]);
        thread.must("lock_range", &[&half, &all]);
        thread.must("make_mutex", &[after]);
        Self { thread, mutexes }
    }

    /// Asserts that each mutex reports the death of its owner to another process (`EOWNERDEAD`).
    fn is_recovered_by(&self, other: &Thread) {
        for mutex in &self.mutexes {
            let outcome: String = other.must("recover_mutex", &[mutex]).get("outcome");
            assert_eq!(outcome, "owner_dead", "the owner of {mutex} and of {MANY} locks died");
        }
    }
}

fn robust_mutexes_of_a_process_with_many_locks_are_recovered(fixture: &Fixture) {
    let (holder, other) = (Holder::new(fixture, process(fixture)), fixture.blank_peer());
    let outcome: String = other.must("recover_mutex", &[&holder.mutexes[0]]).get("outcome");
    assert_eq!(outcome, "busy", "the owner of the mutex lives");
    fixture.kill(&holder.thread.process);
    holder.is_recovered_by(&other);
}

fn robust_mutexes_of_a_thread_with_many_locks_are_recovered(fixture: &Fixture) {
    let process = process(fixture).process;
    let (holder, other) = (Holder::new(fixture, process.thread("t1")), fixture.blank_peer());
    let tid = holder.thread.must("end", &[]).get("tid");
    process.wait_for_end_of(tid);
    holder.is_recovered_by(&other);
}

//! The scenarios.

use crate::scenario::Act::{
    Allocate, Both, Claim, End, EndBoth, Exactly, Keep, Late, Leave, Lock, Panic, Read, Send, TimedLock, TryLock,
};
use crate::scenario::{Act, InitialLock, Scenario};

const LOCK: Act = Lock(0);
const LEAVE: Act = Leave(0);
const SEND: Act = Send(0);
const TWO: &[&[Act]] = &[&[LOCK], &[LOCK]];
const TWO_TWICE: &[&[Act]] = &[&[LOCK, LOCK], &[LOCK, LOCK]];
const THREE: &[&[Act]] = &[&[LOCK], &[LOCK], &[LOCK]];
/// An initial token. The owner with the next token clears the marks of waiters (see `waiters.rs` of lock-shm).
const BEFORE_CLEARING: u64 = 1023;

/// Returns all scenarios.
pub fn scenarios() -> Vec<Scenario> {
    let new = Scenario::new;
    vec![
        new("two lock twice", TWO_TWICE),
        new("two lock twice, one dies", TWO_TWICE).deaths(1),
        new("two lock, both die", TWO).deaths(2),
        new("two lock twice, the marks are cleared", TWO_TWICE).token(BEFORE_CLEARING - 1),
        new("two lock twice, the marks are cleared, one dies", TWO_TWICE).token(BEFORE_CLEARING - 1).deaths(1).long(),
        new("two lock, one has no barriers", TWO).without_barriers(0),
        new("two lock, the other has no barriers, one dies", TWO).without_barriers(1).deaths(1),
        new("two locks in one list, one dies", &[&[Both], &[Lock(1), LOCK]]).deaths(1),
        new("three lock", THREE),
        new("three lock, one dies", THREE).deaths(1).long(),
        new("three lock, two die", THREE).deaths(2).long(),
        new("three lock, all die", THREE).deaths(3).long(),
        new("three lock, one is interrupted", THREE).interrupts(1).long(),
        new("three lock, the marks are cleared", THREE).token(BEFORE_CLEARING),
        new("three lock, one twice, the marks are cleared", &[&[LOCK, LOCK], &[LOCK], &[LOCK]]).token(BEFORE_CLEARING).long(),
        new("three lock, the marks are cleared, one dies", THREE).token(BEFORE_CLEARING).deaths(1).long(),
        new("three lock, one has no barriers, one dies", THREE).without_barriers(2).deaths(1).long(),
        new("one of three times out", &[&[LOCK], &[TimedLock], &[LOCK]]),
        new("one of three times out, another locks twice", &[&[LOCK, LOCK], &[TimedLock], &[LOCK]]).long(),
        new("one of three times out, one dies", &[&[LOCK], &[TimedLock], &[LOCK]]).deaths(1).long(),
        new("one only tries, one dies", &[&[LOCK], &[TryLock, TryLock]]).deaths(1),
        new("one of three only tries, one dies", &[&[LOCK], &[TryLock], &[LOCK]]).deaths(1),
        new("a list that the kernel does not walk", THREE).deaths(1).not_walked().long(),
        new("a list that is not walked, no death in a change", TWO_TWICE).deaths(1).not_walked().not_in_between(),
        new("three lock, a list is not walked, no death in a change", THREE).deaths(2).not_walked().not_in_between().long(),
        // A lock is reserved for a starved thread.
        new("two lock twice, one is starved", TWO_TWICE).starving(&[0]),
        new("two lock twice, the other is starved, one dies", TWO_TWICE).starving(&[1]).deaths(1),
        new("two lock, both are starved, both die", TWO).starving(&[0, 1]).deaths(2),
        new("three lock, one is starved", THREE).starving(&[2]).long(),
        new("three lock, two are starved", THREE).starving(&[1, 2]).long(),
        new("three lock, one is starved, one dies", THREE).starving(&[2]).deaths(1).long(),
        new("three lock, two are starved, one dies", THREE).starving(&[1, 2]).deaths(1).long(),
        new("three lock, two are starved, two die", THREE).starving(&[1, 2]).deaths(2).long(),
        new("three lock, all are starved, two die", THREE).starving(&[0, 1, 2]).deaths(2).long(),
        new("three lock, one is starved, one is interrupted", THREE).starving(&[2]).interrupts(1).long(),
        new("two lock twice, one is starved, the marks are cleared", TWO_TWICE).starving(&[0]).token(BEFORE_CLEARING - 1),
        new("three lock, one is starved, one has no barriers", THREE).starving(&[2]).without_barriers(0).long(),
        new("one starved of three times out", &[&[LOCK], &[TimedLock], &[LOCK]]).starving(&[1]).long(),
        new("one of three times out beside a starved one", &[&[LOCK], &[TimedLock], &[LOCK]]).starving(&[2]).long(),
        new("two starved of three, one times out, one dies", &[&[LOCK], &[TimedLock], &[LOCK]])
            .starving(&[1, 2])
            .deaths(1)
            .long(),
        new("one of three only tries beside a starved one, one dies", &[&[LOCK], &[TryLock], &[LOCK]])
            .starving(&[2])
            .deaths(1)
            .long(),
        new("two processes lock twice, one is starved, one dies", &[&[SEND, SEND], &[SEND, SEND]]).starving(&[1]).deaths(1),
        new("two lock twice, one is foreign and starved, one dies", TWO_TWICE).foreign(&[1]).starving(&[1]).deaths(1),
        new("two release inconsistently after a death, one is starved, one dies", &[&[LEAVE, LEAVE], &[LEAVE]])
            .initial(InitialLock::Death)
            .starving(&[1])
            .deaths(1),
        // Foreign threads use identity numbers in lock words, and have the thread ids of threads at home.
        new("two lock twice, one is foreign", TWO_TWICE).foreign(&[1]),
        new("two lock twice, one is foreign, one dies", TWO_TWICE).foreign(&[1]).deaths(1),
        new("two lock, one is foreign, both die", TWO).foreign(&[1]).deaths(2),
        new("two foreign lock twice, one dies", TWO_TWICE).foreign(&[0, 1]).deaths(1),
        new("two foreign lock, both die", TWO).foreign(&[0, 1]).deaths(2),
        new("three lock, one is foreign", THREE).foreign(&[1]),
        new("three lock, one is foreign, one dies", THREE).foreign(&[1]).deaths(1).long(),
        new("three lock, one is foreign, two die", THREE).foreign(&[1]).deaths(2).long(),
        new("three lock, two are foreign, two die", THREE).foreign(&[1, 2]).deaths(2).long(),
        new("three foreign lock, two die", THREE).foreign(&[0, 1, 2]).deaths(2).long(),
        new("two foreign, one only tries, one dies", &[&[LOCK], &[TryLock, TryLock]]).foreign(&[0, 1]).deaths(1),
        new("one foreign of three only tries, one dies", &[&[LOCK], &[TryLock], &[LOCK]]).foreign(&[1]).deaths(1),
        new("one foreign of three times out, one dies", &[&[LOCK], &[TimedLock], &[LOCK]]).foreign(&[1]).deaths(1).long(),
        new("two foreign of one process lock, both may die", TWO).foreign(&[0, 1]).one_process(0, 1).deaths(1),
        new("two foreign of one process and one at home lock, one dies", THREE)
            .foreign(&[0, 1])
            .one_process(0, 1)
            .deaths(1)
            .long(),
        // Threads end while their processes live on.
        new("a thread ends while it holds", &[&[End(0)], &[LOCK, LOCK]]),
        new("a foreign thread ends while it holds", &[&[End(0)], &[LOCK, LOCK]]).foreign(&[0]),
        new("a foreign thread ends while it holds, one dies", &[&[End(0)], &[LOCK]]).foreign(&[0]).deaths(1),
        new("two foreign threads end while they hold", &[&[End(0)], &[End(0)]]).foreign(&[0, 1]),
        new("a foreign thread of three ends while it holds", &[&[End(0)], &[LOCK], &[LOCK]]).foreign(&[0, 1]).long(),
        new("a foreign thread of three ends while it holds, one dies", &[&[End(0)], &[LOCK], &[LOCK]])
            .foreign(&[0, 1])
            .deaths(1)
            .long(),
        // A thread at home with more locks than the kernel walks uses its identity number in lock words.
        new("one has no room in its list, one dies", TWO_TWICE).with_room(0, 0).deaths(1),
        new("one has no room in its list, both die", TWO).with_room(0, 0).deaths(2),
        new("one of two locks is beyond the room in the list, one dies", &[&[Both], &[Lock(1), LOCK]]).with_room(0, 1).deaths(1),
        new("a thread ends with a lock in each list", &[&[EndBoth], &[Lock(1), LOCK]]).with_room(0, 1),
        new("a thread ends with a lock in each list, one dies", &[&[EndBoth], &[Lock(1), LOCK]]).with_room(0, 1).deaths(1),
        new("a lock is released after it was lost", &[&[Late(0)], &[LOCK, LOCK]]).foreign(&[0]),
        // A process owns the lock, with its identity number in the word and in no list.
        new("two processes lock twice", &[&[SEND, SEND], &[SEND, SEND]]),
        new("two processes lock twice, one dies", &[&[SEND, SEND], &[SEND, SEND]]).deaths(1),
        new("two processes lock, both die", &[&[SEND], &[SEND]]).deaths(2),
        new("a process and a thread lock twice, one dies", &[&[SEND, LOCK], &[LOCK, SEND]]).deaths(1),
        new("a process and a thread lock, both die", &[&[SEND], &[LOCK]]).deaths(2),
        new("a process and a foreign thread lock, both die", &[&[SEND], &[LOCK]]).foreign(&[1]).deaths(2),
        new("a process and a thread lock, the marks are cleared", &[&[SEND, LOCK], &[LOCK, SEND]]).token(BEFORE_CLEARING - 1),
        new("a process without barriers and a thread lock, one dies", &[&[SEND], &[LOCK]]).without_barriers(0).deaths(1),
        new("two threads lock for their process", &[&[SEND, SEND], &[SEND]]).foreign(&[0, 1]).one_process(0, 1),
        new("two threads lock for their process and for themselves", &[&[SEND, LOCK], &[LOCK, SEND]])
            .foreign(&[0, 1])
            .one_process(0, 1),
        new("two processes and a thread lock, one dies", &[&[SEND], &[SEND], &[LOCK]]).deaths(1).long(),
        new("two processes lock after a death, both die", &[&[SEND], &[SEND]]).initial(InitialLock::Death).deaths(2),
        new("a process and a thread lock after a foreign death, both die", &[&[SEND], &[LOCK]])
            .initial(InitialLock::ForeignDeath)
            .deaths(2),
        // A death is reported until an owner marks the lock consistent.
        new("two do not mark after a death, one dies", &[&[LEAVE, LEAVE], &[LEAVE]]).initial(InitialLock::Death).deaths(1),
        new("one marks after a death, one does not, one dies", &[&[LEAVE, LOCK], &[LEAVE]]).initial(InitialLock::Death).deaths(1),
        new("two release inconsistently after a death", &[&[LEAVE, LEAVE], &[LEAVE, LEAVE]]).initial(InitialLock::Death),
        new("three lock after a death, one dies", THREE).initial(InitialLock::Death).deaths(1).long(),
        new("two lock after an inconsistent release, both die", TWO).initial(InitialLock::Inconsistent).deaths(2),
        new("two lock after an inconsistent release, one is foreign, both die", TWO)
            .initial(InitialLock::Inconsistent)
            .foreign(&[1])
            .deaths(2),
        new("one marks after an inconsistent release, one does not, one dies", &[&[LOCK], &[LEAVE, LEAVE]])
            .initial(InitialLock::Inconsistent)
            .deaths(1),
        new("three lock after an inconsistent release, one dies", THREE).initial(InitialLock::Inconsistent).deaths(1).long(),
        new("two lock after a foreign death, one is foreign, both die", TWO)
            .initial(InitialLock::ForeignDeath)
            .foreign(&[1])
            .deaths(2),
        new("three lock after a foreign death, one is foreign, one dies", THREE)
            .initial(InitialLock::ForeignDeath)
            .foreign(&[1])
            .deaths(1)
            .long(),
        new("one panics, one dies", &[&[Panic(0)], &[LEAVE, LOCK]]).deaths(1),
        new("one foreign panics, one dies", &[&[Panic(0)], &[LEAVE, LOCK]]).foreign(&[0]).deaths(1),
        new("two claim twice, one dies", &[&[Claim, Claim], &[Claim, Claim]]).deaths(1),
        new("three claim, two die", &[&[Claim, Claim], &[Claim], &[Claim]]).deaths(2),
        new("one frees its id, one keeps its id", &[&[Allocate], &[Keep]]),
        new("one frees the last id, one searches for it", &[&[Keep, Allocate], &[Allocate]]),
        new("one frees the last id, one searches for it, one dies", &[&[Keep, Allocate], &[Allocate]]).deaths(1),
        new("two allocate and free twice, one dies", &[&[Allocate, Allocate], &[Allocate, Allocate]]).deaths(1).long(),
        new("two allocate and free, both die", &[&[Allocate], &[Allocate]]).deaths(2),
        new("two want the same id, one dies", &[&[Exactly(0)], &[Exactly(0)]]).deaths(1),
        new("one reads what another allocates", &[&[Allocate, Allocate], &[Read]]),
        new("three allocate two ids", &[&[Keep], &[Keep], &[Keep]]),
        new("three allocate two ids, all die", &[&[Keep], &[Keep], &[Keep]]).deaths(3).long(),
        new("three allocate, one frees, one dies", &[&[Keep], &[Keep], &[Allocate]]).deaths(1).long(),
    ]
}

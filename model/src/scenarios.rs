//! The scenarios.

use crate::scenario::Act::{Allocate, Both, Claim, Exactly, Keep, Lock, Read, TimedLock, TryLock};
use crate::scenario::{Act, Scenario};

const LOCK: Act = Lock(0);
const TWO: &[&[Act]] = &[&[LOCK], &[LOCK]];
const TWO_TWICE: &[&[Act]] = &[&[LOCK, LOCK], &[LOCK, LOCK]];
const THREE: &[&[Act]] = &[&[LOCK], &[LOCK], &[LOCK]];
/// The next acquisition is one at which owners go back to plain stores.
const ROUND: u64 = 1023;

/// The scenarios.
pub fn scenarios() -> Vec<Scenario> {
    let new = Scenario::new;
    vec![
        new("two lock twice", TWO_TWICE),
        new("two lock twice, one dies", TWO_TWICE).deaths(1),
        new("two lock, both die", TWO).deaths(2),
        new("two lock twice, the marks go away", TWO_TWICE).token(ROUND - 1),
        new("two lock twice, the marks go away, one dies", TWO_TWICE).token(ROUND - 1).deaths(1).long(),
        new("two lock, one has no barriers", TWO).without_barriers(0),
        new("two lock, the other has no barriers, one dies", TWO).without_barriers(1).deaths(1),
        new("two locks in one list, one dies", &[&[Both], &[Lock(1), LOCK]]).deaths(1),
        new("three lock", THREE),
        new("three lock, one dies", THREE).deaths(1).long(),
        new("three lock, two die", THREE).deaths(2).long(),
        new("three lock, all die", THREE).deaths(3).long(),
        new("three lock, one is interrupted", THREE).interrupts(1).long(),
        new("three lock, the marks go away", THREE).token(ROUND),
        new("three lock, one twice, the marks go away", &[&[LOCK, LOCK], &[LOCK], &[LOCK]]).token(ROUND).long(),
        new("three lock, the marks go away, one dies", THREE).token(ROUND).deaths(1).long(),
        new("three lock, one has no barriers, one dies", THREE).without_barriers(2).deaths(1).long(),
        new("one of three gives up", &[&[LOCK], &[TimedLock], &[LOCK]]),
        new("one of three gives up, another locks twice", &[&[LOCK, LOCK], &[TimedLock], &[LOCK]]).long(),
        new("one of three gives up, one dies", &[&[LOCK], &[TimedLock], &[LOCK]]).deaths(1).long(),
        new("one of three only tries, one dies", &[&[LOCK], &[TryLock], &[LOCK]]).deaths(1),
        new("a list that the kernel does not serve", THREE).deaths(1).not_served().long(),
        new("one thread id in two namespaces", THREE).same_tids(0, 1),
        new("one thread id in two namespaces, one dies", THREE).same_tids(0, 1).deaths(1).not_in_between().long(),
        new("one thread id in two namespaces, not served", THREE).same_tids(0, 1).deaths(1).not_in_between().not_served().long(),
        new("two claim twice, one dies", &[&[Claim, Claim], &[Claim, Claim]]).deaths(1),
        new("three claim, two die", &[&[Claim, Claim], &[Claim], &[Claim]]).deaths(2),
        new("one frees what it allocates, one keeps it", &[&[Allocate], &[Keep]]),
        new("two allocate and free twice, one dies", &[&[Allocate, Allocate], &[Allocate, Allocate]]).deaths(1).long(),
        new("two allocate and free, both die", &[&[Allocate], &[Allocate]]).deaths(2),
        new("two want the same id, one dies", &[&[Exactly(0)], &[Exactly(0)]]).deaths(1),
        new("one reads what another allocates", &[&[Allocate, Allocate], &[Read]]),
        new("three allocate two ids", &[&[Keep], &[Keep], &[Keep]]),
        new("three allocate two ids, all die", &[&[Keep], &[Keep], &[Keep]]).deaths(3).long(),
        new("three allocate, one frees, one dies", &[&[Keep], &[Keep], &[Allocate]]).deaths(1).long(),
    ]
}

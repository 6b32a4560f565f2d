//! The range of ids, and the mapping of ids to locks.

use super::{cases, with_capacity};
use crate::fixture::Fixture;
use crate::process::{LockRef, Thread};

cases! { "allocation";
    different_ids_are_different_locks [NUMBERED PROCESSES];
    the_last_id_is_a_lock_between_processes [NUMBERED PROCESSES];
    the_capacity_is_exact [NUMBERED];
}

/// Capacity for ids of more than sixteen bits, where it can be chosen.
const MANY: u32 = 1_000_000;

/// Number of handles of one lock, and of repetitions, each of which has to succeed.
const HANDLES: &str = "60";
const REPETITIONS: u32 = 60;
/// The largest capacity that a case fills.
const MOST: u64 = 10_000;

/// Opens the store and returns its capacity.
fn opened(thread: &Thread, url: &str) -> Option<u64> {
    thread.must("open", &["open_or_create", url]).find("capacity")
}

/// Returns ids that a wrong modulus or width would map to other ids.
///
/// They are the powers of 2 and 10 below `end`, and their neighbours.
fn suspicious_ids(end: u64) -> Vec<u32> {
    let powers = (0..20).map(|exponent| 1_u32 << exponent).chain((1..7).map(|exponent| 10_u32.pow(exponent)));
    let mut ids: Vec<_> = powers.flat_map(|power| [power - 1, power, power + 1]).filter(|id| u64::from(*id) < end).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn different_ids_are_different_locks(fixture: &Fixture) {
    let url = with_capacity(fixture, &MANY.to_string());
    let (owner, other) = (fixture.blank_peer(), fixture.peer_with(&url));
    let ids = suspicious_ids(opened(&owner, &url).unwrap_or(u64::from(MANY)));
    for held in [0, 1, ids[ids.len() - 1]] {
        owner.lock(LockRef::Number(held));
        for id in ids.iter().filter(|id| **id != held) {
            let granted = other.try_lock(LockRef::Number(*id));
            assert!(granted.is_some(), "only the lock {held} is held, but the lock {id} is busy: two ids name one lock");
            other.unlock(LockRef::Number(*id));
            if held == 0 {
                let busy: u32 = other.must("try_new_handles", &[&id.to_string(), HANDLES]).get("busy_times");
                assert_eq!(
                    busy, 0,
                    "only the lock {held} is held, but the lock {id} is busy through a new handle: two ids name one lock"
                );
            }
        }
        other.finds_busy(LockRef::Number(held), "another thread holds it");
        owner.unlock(LockRef::Number(held));
    }
}

fn the_last_id_is_a_lock_between_processes(fixture: &Fixture) {
    let mut urls = vec![fixture.fresh_url()];
    if crate::need::CHOSEN.is_met(&fixture.suite) {
        urls.extend(
            ["1", "2", "63", "64", "65", "250", "4096"]
                .map(|capacity| super::with_option(&fixture.fresh_url(), &format!("capacity={capacity}"))),
        );
    }
    for url in urls {
        let a = fixture.blank_peer();
        let Some(capacity) = opened(&a, &url) else { continue };
        let last = LockRef::Number(u32::try_from(capacity - 1).expect("a capacity is a number of ids"));
        let b = fixture.peer_with(&url);
        for (thread, other) in [(&a, &b), (&b, &a)] {
            thread.lock(last);
            other.finds_busy(last, "it is held, and is the last one of the store");
            thread.unlock(last);
            thread.must("retrieve_many", &[&last.to_string(), HANDLES]);
        }
        for thread in [a, b] {
            fixture.kill(&thread.process);
        }
    }
}

fn the_capacity_is_exact(fixture: &Fixture) {
    let a = fixture.blank_peer();
    let Some(capacity) = opened(&a, &fixture.url()) else { return };
    if let Ok(beyond) = u32::try_from(capacity) {
        let beyond = beyond.to_string();
        for (verb, arguments) in [("retrieve", vec![&*beyond]), ("take", vec![&*beyond, ""]), ("free", vec![&*beyond])] {
            let said: u64 = a.refused("OutOfRange", verb, &arguments).fields.get("capacity");
            assert_eq!(said, capacity, "{verb} of the id {beyond} names another capacity than the store");
        }
    }
    a.must("retrieve", &[&(capacity - 1).to_string()]);
    if capacity > MOST {
        return;
    }
    let mut ids = a.must("allocate_many", &[&(capacity + 1).to_string()]).numbers("ids");
    ids.sort_unstable();
    let (first, last, count) = (ids.first(), ids.last(), ids.len() as u64);
    let is_exact = ids.iter().copied().map(u64::from).eq(0..capacity);
    assert!(
        is_exact,
        "a store of {capacity} locks hands out {count} ids, from {first:?} to {last:?}, and not 0 to {}",
        capacity - 1
    );
    for _ in 0..REPETITIONS {
        let refusal = a.refused("Exhausted", "allocate", &[""]);
        let said: (u64, u64) = (refusal.fields.get("capacity"), refusal.fields.get("allocated"));
        assert_eq!(said, (capacity, capacity), "the error has the wrong capacity or count: {}", refusal.text);
    }
    for _ in 0..REPETITIONS {
        a.free(0);
        let id = a.ask("allocate", &[""]).map(|fields| fields.get("id"));
        assert_eq!(id.as_ref().ok(), Some(&0_u32), "only the id 0 is free, and not 0 to {}: {id:?}", capacity - 1);
    }
}

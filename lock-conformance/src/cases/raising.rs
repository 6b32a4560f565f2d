//! The capacity of a store, which is raised while processes use the store.

use std::thread;
use std::time::Duration;

use super::{cases, with_capacity, with_option};
use crate::fixture::{Fixture, scale};
use crate::need;
use crate::process::{LockRef, Thread};

cases! { "raising";
    all_processes_see_a_raised_capacity [GROWTH CHOSEN PROCESSES];
    a_full_store_continues_when_its_capacity_is_raised [GROWTH CHOSEN PROCESSES];
    locks_stay_held_and_waited_for_while_the_capacity_is_raised [GROWTH CHOSEN PROCESSES];
    the_death_of_an_owner_of_a_new_id_is_reported [GROWTH CHOSEN PROCESSES REPORTED];
    allocations_stay_when_the_capacity_is_raised [GROWTH CHOSEN PROCESSES LABELS];
    names_lead_to_the_same_locks_when_the_capacity_is_raised [GROWTH CHOSEN PROCESSES NAMES];
    a_smaller_capacity_is_refused_with_both_numbers [GROWTH CHOSEN];
    the_bound_is_removed [GROWTH CHOSEN PROCESSES];
    of_several_processes_that_raise_the_capacity_the_greatest_wins [GROWTH CHOSEN PROCESSES];
    a_process_killed_while_it_raises_the_capacity_leaves_the_store_sound [GROWTH CHOSEN PROCESSES];
    earlier_and_later_capacities_open_the_store [GROWTH CHOSEN PROCESSES];
    raising_the_capacity_is_refused [NUMBERED] unless GROWTH;
}

fn capacity_of(thread: &Thread) -> Option<u64> {
    thread.must("capacity", &[]).find("capacity")
}

/// Returns processes that have a new store with this capacity open.
fn peers<const N: usize>(fixture: &Fixture, capacity: &str) -> [Thread; N] {
    let url = with_capacity(fixture, capacity);
    std::array::from_fn(|_| fixture.peer_with(&url))
}

fn all_processes_see_a_raised_capacity(fixture: &Fixture) {
    let [a, b] = peers(fixture, "4");
    for capacity in [5, 64, 65, 1000, 1024, 1025, 5000] {
        let text = capacity.to_string();
        let last = (capacity - 1).to_string();
        let refusal = b.refused("OutOfRange", "take", &[&last, ""]);
        assert!(refusal.fields.get::<u64>("capacity") < capacity);
        a.must("raise", &[&text]);
        for process in [&a, &b] {
            assert_eq!(capacity_of(process), Some(capacity), "a process that had the store open sees an earlier capacity");
            assert_eq!(process.available(), Some(capacity), "a process that had the store open counts other free ids");
        }
        b.must("take", &[&last, "new"]);
        assert_eq!(a.allocated(), [capacity as u32 - 1], "an id beyond the earlier capacity is not allocated");
        let lock = LockRef::Number(capacity as u32 - 1);
        b.lock(lock);
        a.finds_busy(lock, "another process holds the new lock");
        b.unlock(lock);
        a.finds_free(lock, "it was released");
        a.free(capacity as u32 - 1);
        let refusal = b.refused("OutOfRange", "take", &[&text, ""]);
        assert_eq!(refusal.fields.get::<u64>("capacity"), capacity, "the refusal names an earlier capacity");
    }
    let late = fixture.peer_with(&fixture.url());
    assert_eq!(capacity_of(&late), Some(5000), "a process that opens the store later sees an earlier capacity");
}

fn a_full_store_continues_when_its_capacity_is_raised(fixture: &Fixture) {
    let [a, b] = peers(fixture, "4");
    let mut all: Vec<u32> = Vec::new();
    for capacity in [4, 6, 64, 130, 1025] {
        a.must("raise", &[&u32::to_string(&capacity)]);
        while all.len() < capacity as usize {
            let process = if all.len().is_multiple_of(2) { &a } else { &b };
            all.push(process.allocate(""));
        }
        for process in [&a, &b] {
            let refusal = process.refused("Exhausted", "allocate", &[""]);
            assert_eq!(refusal.fields.get::<u32>("capacity"), capacity, "the refusal names another capacity");
        }
        let listed = a.allocated();
        assert_eq!(listed.len(), all.len(), "ids are missing after the capacity was raised, or were allocated twice");
        assert!(listed.iter().all(|id| *id < capacity));
    }
}

fn locks_stay_held_and_waited_for_while_the_capacity_is_raised(fixture: &Fixture) {
    let [owner, waiter, grower] = peers(fixture, "4");
    let lock = LockRef::Number(3);
    owner.lock(lock);
    let waiting = waiter.start_lock(lock);
    waiting.waits("another process holds the lock");
    for capacity in ["5", "64", "1024", "3000", "unbounded"] {
        grower.must("raise", &[capacity]);
        grower.finds_busy(lock, "its owner acquired it before the capacity was raised");
        waiting.waits("the owner still holds the lock while the capacity is raised");
    }
    owner.unlock(lock);
    waiting.granted();
    grower.finds_busy(lock, "the waiter got it after the capacity was raised");
    waiter.unlock(lock);
    grower.finds_free(lock, "the waiter released it");
}

fn the_death_of_an_owner_of_a_new_id_is_reported(fixture: &Fixture) {
    let [a, b, grower] = peers(fixture, "4");
    grower.must("raise", &["3000"]);
    for (owner, id) in [(&a, 4), (&b, 2999)] {
        owner.lock(LockRef::Number(id));
        grower.finds_busy(LockRef::Number(id), "its owner lives");
        fixture.kill(&owner.process);
        let death = grower.lock(LockRef::Number(id)).death;
        assert_eq!(death.map(|death| death.pid), Some(owner.pid()), "the death of the owner of a new id was not reported");
    }
}

fn allocations_stay_when_the_capacity_is_raised(fixture: &Fixture) {
    let [a, b] = peers(fixture, "70");
    for id in [0, 3, 63, 64, 69] {
        a.must("take", &[&id.to_string(), &format!("label {id}")]);
    }
    let before = b.must("allocated", &[]);
    for capacity in ["71", "128", "1500", "unbounded"] {
        b.must("raise", &[capacity]);
        for process in [&a, &b] {
            assert_eq!(process.must("allocated", &[]), before, "allocations have changed while the capacity was raised");
        }
    }
    assert_eq!(fixture.peer_with(&fixture.url()).must("allocated", &[]), before, "allocations have changed");
}

/// Fills each capacity with names, so that they are in all places in which names can be.
fn names_lead_to_the_same_locks_when_the_capacity_is_raised(fixture: &Fixture) {
    let [a, b] = peers(fixture, "10");
    let mut known: Vec<u32> = Vec::new();
    for capacity in [10, 70, 130, 200] {
        a.must("raise", &[&capacity.to_string()]);
        let ids = a.must("name_many", &["name ", &capacity.to_string()]).numbers("ids");
        assert_eq!(ids.len(), capacity, "names do not use every free id after the capacity was raised");
        assert_eq!(ids[..known.len()], known, "names lead to other ids than before the capacity was raised");
        let listed = b.allocated();
        assert_eq!(listed.len(), capacity, "a name was allocated twice after the capacity was raised");
        known = ids;
    }
    assert_eq!(b.must("name_many", &["name ", "200"]).numbers("ids"), known, "names lead to other ids in another process");
}

fn a_smaller_capacity_is_refused_with_both_numbers(fixture: &Fixture) {
    let [a] = peers(fixture, "40");
    let refused = |asked: &str, found: &str| {
        let refusal = a.refused("OtherCapacity", "raise", &[asked]);
        let numbers: (String, String) = (refusal.fields.get("found"), refusal.fields.get("asked"));
        assert_eq!(numbers, (found.to_owned(), asked.to_owned()), "the refusal names other numbers");
    };
    for asked in ["0", "1", "39"] {
        refused(asked, "40");
    }
    refused("4294967296", "40");
    assert_eq!(a.available(), Some(40), "a refused capacity has changed the store");
    a.must("raise", &["40"]);
    assert_eq!(a.available(), Some(40), "the present capacity has changed the store");
    a.must("raise", &["4294967295"]);
    refused("40", "4294967295");
    a.must("raise", &["unbounded"]);
    refused("4294967295", "unbounded");
    a.must("raise", &["unbounded"]);
}

fn the_bound_is_removed(fixture: &Fixture) {
    let [a, b] = peers(fixture, "4");
    a.must("raise", &["unbounded"]);
    for process in [&a, &b, &fixture.peer_with(&fixture.url())] {
        assert_eq!((capacity_of(process), process.available()), (None, None), "a process sees a bound that was removed");
    }
    let last = u32::MAX.to_string();
    b.must("take", &[&last, ""]);
    b.lock(LockRef::Number(u32::MAX));
    a.finds_busy(LockRef::Number(u32::MAX), "another process holds it");
    assert_eq!(a.allocated(), [u32::MAX]);
}

/// Number of processes that raise the capacity at the same time, and of the capacities that each of them tries.
const GROWERS: u32 = 4;
const STEPS: u32 = 40;

fn of_several_processes_that_raise_the_capacity_the_greatest_wins(fixture: &Fixture) {
    let growers: [Thread; GROWERS as usize] = peers(fixture, "4");
    for round in 0..5 * scale() {
        let (path, arena) = fixture.arena(1);
        let path = path.to_str().expect("the scratch path is text");
        let first = 5 + round * GROWERS * STEPS;
        let racing: Vec<_> = (0..GROWERS)
            .map(|grower| {
                let capacities = (0..STEPS).map(|step| (first + step * GROWERS + grower).to_string());
                let words: Vec<_> = std::iter::once(path.to_owned()).chain(capacities).collect();
                growers[grower as usize].start("race_to_raise", &words.iter().map(String::as_str).collect::<Vec<_>>())
            })
            .collect();
        for racing in &racing {
            racing.begun();
        }
        arena.go();
        for (grower, racing) in (0..GROWERS).zip(racing) {
            let seen: u32 = racing.done().get("capacity");
            let own = first + (STEPS - 1) * GROWERS + grower;
            assert!(seen >= own, "a process raised the capacity to {own}, and then it was {seen}: the greatest did not win");
        }
        let greatest = u64::from(first + STEPS * GROWERS - 1);
        for process in &growers {
            assert_eq!(capacity_of(process), Some(greatest), "the greatest of several capacities did not win");
        }
    }
}

fn a_process_killed_while_it_raises_the_capacity_leaves_the_store_sound(fixture: &Fixture) {
    for round in 0..20 * scale() {
        let url = with_option(&fixture.fresh_url(), "capacity=4");
        let grower = fixture.peer_with(&url);
        let ids: Vec<_> = (0..3).map(|_| grower.allocate("kept")).collect();
        let (path, arena) = fixture.arena(1);
        let path = path.to_str().expect("the scratch path is text");
        let words: Vec<_> = std::iter::once(path.to_owned()).chain((5..2000).map(|n: u32| n.to_string())).collect();
        let growing = grower.start("race_to_raise", &words.iter().map(String::as_str).collect::<Vec<_>>());
        growing.begun();
        arena.go();
        thread::sleep(Duration::from_micros(u64::from(round % 20) * 50));
        fixture.kill(&grower.process);
        let other = fixture.peer_with(&url);
        other.must("check", &[]);
        let capacity = capacity_of(&other).expect("the store has a bound");
        assert!((4..2000).contains(&capacity), "a process that raised the capacity was killed, and the capacity is {capacity}");
        assert_eq!(other.allocated(), ids, "ids are missing after a process that raised the capacity was killed");
        let last = (capacity - 1).to_string();
        other.must("lock", &[&last]);
        other.must("unlock", &[&last]);
        other.must("raise", &["2000"]);
        assert_eq!(other.available(), Some(1997), "the capacity cannot be raised after a process that raised it was killed");
        if need::REMOVAL.is_met(&fixture.suite) {
            other.must("destroy", &[]);
        }
        fixture.kill(&other.process);
    }
}

fn earlier_and_later_capacities_open_the_store(fixture: &Fixture) {
    let [a] = peers(fixture, "40");
    let (url, opener) = (fixture.url(), fixture.blank_peer());
    a.must("raise", &["60"]);
    a.must("raise", &["80"]);
    for asked in ["40", "60", "80"] {
        for mode in ["open", "open_or_create"] {
            let opened: u64 = opener.must("probe", &[mode, &with_option(&url, &format!("capacity={asked}"))]).get("capacity");
            assert_eq!(opened, 80, "a store has another capacity if the URL has an earlier one");
        }
    }
    for asked in ["39", "81", "unbounded"] {
        let refusal =
            opener.refused("OtherCapacity", "probe", &["open_or_create", &with_option(&url, &format!("capacity={asked}"))]);
        let numbers: (String, String) = (refusal.fields.get("found"), refusal.fields.get("asked"));
        assert_eq!(numbers, ("80".to_owned(), asked.to_owned()), "the refusal names other numbers");
    }
}

fn raising_the_capacity_is_refused(fixture: &Fixture) {
    let a = fixture.peer();
    let before = capacity_of(&a);
    a.refused("Unsupported", "raise", &["4000000000"]);
    assert_eq!(capacity_of(&a), before, "the capacity was raised, although that was refused");
}

//! Reading the allocation of one id, and allocating an id unless it is allocated.

use super::{cases, with_capacity};
use crate::fixture::Fixture;
use crate::need;
use crate::process::{LockRef, Pending, Thread};

cases! { "allocation";
    the_allocation_of_an_id_is_that_of_the_list [NUMBERED PROCESSES];
    a_list_in_parts_has_each_id_once [CHOSEN NUMBERED];
    an_allocated_id_is_found_and_keeps_its_label [NUMBERED PROCESSES];
    all_who_race_to_find_an_id_get_its_lock [NUMBERED PROCESSES];
}

/// The fields of an allocation.
fn fields(thread: &Thread, id: u32) -> Option<[Option<String>; 3]> {
    let found = thread.must("allocation", &[&id.to_string()]);
    let field = |name: &str| found.find(&format!("{name}.{id}"));
    (found.numbers("ids") == [id]).then(|| ["label", "generation", "pid"].map(field))
}

/// The fields of each allocation in the list.
fn listed(thread: &Thread) -> Vec<(u32, [Option<String>; 3])> {
    let list = thread.must("allocated", &[]);
    let field = |name: &str, id: u32| list.find(&format!("{name}.{id}"));
    list.numbers("ids").into_iter().map(|id| (id, ["label", "generation", "pid"].map(|name| field(name, id)))).collect()
}

fn the_allocation_of_an_id_is_that_of_the_list(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let label = |text| if need::LABELS.is_met(&fixture.suite) { text } else { "" };
    let first = a.allocate(label("first"));
    b.must("take", &["9", label("second")]);
    b.must("take", &["5", ""]);
    b.free(5);
    for thread in [&a, &b] {
        for (id, expected) in listed(thread) {
            assert_eq!(fields(thread, id), Some(expected), "the allocation of the id {id} differs from that in the list");
        }
        for free in (0..16).filter(|id| ![first, 9].contains(id)) {
            assert_eq!(fields(thread, free), None, "the free id {free} has an allocation");
        }
    }
}

/// More ids than `lock-core` reads in one call.
const MANY: u32 = 1100;

fn a_list_in_parts_has_each_id_once(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "2000"));
    let in_parts = || a.must("list_in_parts", &[]).numbers("ids");
    assert_eq!(in_parts(), [], "no id is allocated");
    let count = a.must("allocate_many", &[&MANY.to_string()]).numbers("ids").len();
    assert_eq!(count, MANY as usize, "the store has room for these ids");
    for id in (0..MANY).step_by(40) {
        a.free(id);
    }
    a.must("take", &["1999", ""]);
    assert_eq!(in_parts(), a.allocated(), "the list that is read in parts differs from the list of one call");
}

fn an_allocated_id_is_found_and_keeps_its_label(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let label = |text| if need::LABELS.is_met(&fixture.suite) { text } else { "" };
    a.must("get_or_allocate", &["4", label("first")]);
    let before = listed(&a);
    assert_eq!(before.len(), 1, "the id 4 was free, but the call has not allocated it");
    b.must("get_or_allocate", &["4", label("second")]);
    assert_eq!(listed(&b), before, "the id was allocated, but the call changed its allocation");
    a.lock(LockRef::Number(4));
    b.finds_busy(LockRef::Number(4), "both calls return the same lock, and one thread holds it");
}

fn all_who_race_to_find_an_id_get_its_lock(fixture: &Fixture) {
    let threads: Vec<_> = (0..4).map(|_| fixture.peer()).collect();
    for id in 0..16_u32 {
        let start = |thread: &Thread| thread.start("get_or_allocate", &[&id.to_string(), ""]);
        let racing: Vec<_> = threads.iter().map(start).collect();
        racing.into_iter().for_each(|racer| drop(Pending::done(racer)));
        assert_eq!(threads[0].allocated(), (0..=id).collect::<Vec<_>>(), "a race for the id {id} allocated other ids");
    }
}

//! Setting the allocated ids in one call, as after a restart.

use super::{cases, with_capacity};
use crate::fixture::Fixture;
use crate::need;
use crate::process::LockRef;

cases! { "reconciling";
    exactly_the_given_ids_are_allocated [RECONCILE PROCESSES];
    ids_above_the_greatest_given_one_are_freed [RECONCILE PROCESSES];
    nothing_given_frees_everything [RECONCILE];
    an_id_out_of_range_changes_nothing [RECONCILE CHOSEN];
    a_label_is_that_of_a_new_allocation [RECONCILE LABELS PROCESSES];
    a_held_lock_stays_held [RECONCILE PROCESSES];
    reconciling_is_refused_and_changes_nothing [NUMBERED] unless RECONCILE;
}

/// Number of repetitions, each of which has to succeed.
const ROUNDS: u32 = 55;

fn exactly_the_given_ids_are_allocated(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    for id in ["1", "2", "6"] {
        a.must("take", &[id, ""]);
    }
    let done = b.must("reconcile", &["2", "3", "9"]);
    assert_eq!(done.numbers("allocated"), [3, 9], "it claimed other ids than the missing ones");
    assert_eq!(done.numbers("freed"), [1, 6], "it freed other ids than the surplus ones");
    assert_eq!(a.allocated(), [2, 3, 9], "other ids than the given ones are allocated");
    let again = a.must("reconcile", &["2", "3", "9"]);
    assert_eq!((again.numbers("allocated"), again.numbers("freed")), (vec![], vec![]), "a repeated call changed ids");
    a.refused("AlreadyAllocated", "take", &["9", ""]);
    b.must("take", &["1", ""]);
}

fn ids_above_the_greatest_given_one_are_freed(fixture: &Fixture) {
    let url = with_capacity(fixture, "256");
    let (a, b) = (fixture.peer_with(&url), fixture.peer_with(&url));
    // Ids in several words of a bitmap, where the capacity allows it.
    let above: &[u32] = if need::CHOSEN.is_met(&fixture.suite) { &[9, 63, 64, 65, 200, 255] } else { &[9] };
    let expected: Vec<_> = [1].iter().chain(above).copied().collect();
    for _ in 0..ROUNDS {
        a.must("reconcile", &[]);
        for id in [1, 2].iter().chain(above) {
            a.must("take", &[&id.to_string(), ""]);
        }
        let freed = b.must("reconcile", &["2"]).numbers("freed");
        assert_eq!(freed, expected, "the only given id is 2, but other ids than the remaining ones were freed");
        assert_eq!(a.allocated(), [2], "an id above the greatest given one is still allocated");
    }
    for id in above {
        a.must("take", &[&id.to_string(), ""]);
    }
}

fn nothing_given_frees_everything(fixture: &Fixture) {
    let a = fixture.peer();
    let ids = [a.allocate(""), a.allocate("")];
    let done = a.must("reconcile", &[]);
    assert_eq!(done.numbers("freed"), ids, "it freed other ids than the allocated ones");
    assert_eq!(a.allocated(), [], "ids are still allocated");
}

fn an_id_out_of_range_changes_nothing(fixture: &Fixture) {
    let a = fixture.peer_with(&with_capacity(fixture, "32"));
    a.must("take", &["5", ""]);
    a.refused("OutOfRange", "reconcile", &["1", "2", "32"]);
    assert_eq!(a.allocated(), [5], "a refused call changed the allocated ids");
}

fn a_label_is_that_of_a_new_allocation(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    a.must("take", &["2", "old"]);
    a.must("take", &["3", "surplus"]);
    let done = b.must("reconcile_labels", &["2", "new", "4", "container web", "6", ""]);
    assert_eq!((done.numbers("allocated"), done.numbers("freed")), (vec![4, 6], vec![3]), "it changed other ids");
    let list = a.must("allocated", &[]);
    let labels: [String; 3] = [2, 4, 6].map(|id| list.get(&format!("label.{id}")));
    assert_eq!(labels, ["old", "container web", ""], "a new allocation gets its label, and an earlier one keeps its own");
    b.refused("BadLabel", "reconcile_labels", &["2", "", "7", "two\nlines"]);
    assert_eq!(a.allocated(), [2, 4, 6], "a refused call changed the allocated ids");
}

fn a_held_lock_stays_held(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let lock = LockRef::Number(a.allocate(""));
    a.lock(lock);
    b.must("reconcile", &["20"]);
    b.finds_busy(lock, "its id was freed, but its owner still holds it");
    a.unlock(lock);
    b.finds_free(lock, "it was released");
}

fn reconciling_is_refused_and_changes_nothing(fixture: &Fixture) {
    let a = fixture.peer();
    let id = a.allocate("");
    a.refused("Unsupported", "reconcile", &["3"]);
    assert_eq!(a.allocated(), [id], "a refused call changed the allocated ids");
}

//! Labels of allocations.

use super::cases;
use crate::fixture::Fixture;

cases! { "labels";
    a_label_is_read_by_everybody [LABELS PROCESSES];
    a_label_goes_with_its_allocation [LABELS];
    the_longest_label_is_kept_whole [LABELS];
    a_label_outlives_its_writer [LABELS PROCESSES];
    a_bad_label_is_refused_and_allocates_nothing [NUMBERED];
    a_label_is_refused_and_allocates_nothing [NUMBERED] unless LABELS;
}

fn a_label_is_read_by_everybody(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("container web");
    b.must("take", &["30", "volume data"]);
    for thread in [&a, &b, &fixture.peer()] {
        let list = thread.must("allocated", &[]);
        let labels: [String; 2] = [list.get(&format!("label.{id}")), list.get("label.30")];
        assert_eq!(labels, ["container web", "volume data"], "the labels differ from the given ones");
    }
}

fn a_label_goes_with_its_allocation(fixture: &Fixture) {
    let a = fixture.peer();
    let id = a.allocate("a first and rather long label").to_string();
    for label in ["second", "", "a third, which is longer"] {
        a.must("free", &[&id]);
        a.must("take", &[&id, label]);
        let kept: String = a.must("allocated", &[]).get(&format!("label.{id}"));
        assert_eq!(kept, label, "the label of an earlier allocation remains");
    }
}

fn the_longest_label_is_kept_whole(fixture: &Fixture) {
    let a = fixture.peer();
    let longest = "äöü ".repeat(9) + &"x".repeat(lock_core::Label::MAX - 63);
    assert_eq!(longest.len(), lock_core::Label::MAX, "the label has the greatest length");
    let id = a.allocate(&longest);
    let kept: String = a.must("allocated", &[]).get(&format!("label.{id}"));
    assert_eq!(kept, longest, "the longest label was truncated");
}

fn a_label_outlives_its_writer(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("of the dead");
    fixture.kill(&a.process);
    let kept: String = b.must("allocated", &[]).get(&format!("label.{id}"));
    assert_eq!(kept, "of the dead", "the death of the allocator removed its label");
}

fn a_bad_label_is_refused_and_allocates_nothing(fixture: &Fixture) {
    let a = fixture.peer();
    let before = a.available();
    for label in ["two\nlines", &"x".repeat(lock_core::Label::MAX + 1)] {
        a.refused("BadLabel", "allocate", &[label]);
        a.refused("BadLabel", "take", &["3", label]);
    }
    assert_eq!((a.available(), a.allocated()), (before, vec![]), "a refused call allocated an id");
}

fn a_label_is_refused_and_allocates_nothing(fixture: &Fixture) {
    let a = fixture.peer();
    let before = a.available();
    a.refused("Unsupported", "allocate", &["a label"]);
    a.refused("Unsupported", "take", &["3", "a label"]);
    assert_eq!((a.available(), a.allocated()), (before, vec![]), "a refused call allocated an id");
    a.allocate("");
}

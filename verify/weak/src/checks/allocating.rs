//! Checks of allocation.

use real_core::Label;

use super::run;
use crate::member::Kind::AtHome;
use crate::sys::Protected;

/// Checks that an id has one owner at a time.
///
/// # Panics
/// If the check fails.
pub fn an_id_belongs_to_one_allocation() {
    let owners: [Protected<Option<usize>>; 4] = Default::default();
    run(&[AtHome, AtHome, AtHome], |table, number| {
        let label = Label::new(format!("the label of {number}")).unwrap();
        for _ in 0..3 {
            let id = table.allocate(&label).unwrap();
            let owner = &owners[id.get() as usize];
            assert_eq!(owner.with(|owner| owner.replace(number)), None, "{id}");
            assert_eq!(owner.with(Option::take), Some(number));
            table.free(id, None).unwrap();
        }
    });
}

/// Checks that a list of allocations has no partially written label.
///
/// # Panics
/// If the check fails.
pub fn an_allocation_is_read_whole_or_not_at_all() {
    let label = |number: usize| Label::new(format!("the label of {number}").repeat(3)).unwrap();
    run(&[AtHome, AtHome], |table, number| {
        for _ in 0..2 {
            if number == 0 {
                let id = table.allocate(&label(0)).unwrap();
                table.free(id, None).unwrap();
            } else {
                for allocation in table.allocated().unwrap() {
                    let is_whole = allocation.generation.is_none() || allocation.label == label(0);
                    assert!(is_whole, "{allocation:?}");
                }
            }
        }
    });
}

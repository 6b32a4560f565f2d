//! Lowered limits of the kernel, in a new IPC namespace.

use std::fs;

use lock_core::ErrorKind;

use crate::{Store, tests};

tests! {
    #[isolated] the_error_for_a_large_set_names_the_first_number,
    #[isolated] the_error_for_too_many_semaphores_names_the_second_number,
    #[isolated] the_error_for_too_many_steps_names_the_third_number,
    #[isolated] the_error_for_too_many_sets_names_the_fourth_number,
}

/// Asserts that an id cannot be used under these limits, that the error names the number of `kernel.sem` to raise, and that the
/// id can be used after the limits are raised.
fn asserts_refusal_under(store: &Store, limits: &str, number: &str) {
    let before = fs::read_to_string("/proc/sys/kernel/sem").unwrap();
    fs::write("/proc/sys/kernel/sem", limits).unwrap();
    let error = store.store.retrieve(2048).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("the {number} number of the sysctl kernel.sem")), "{text}");
    for _ in 0..10 {
        store.store.allocate_and_retrieve(2048, "").unwrap_err();
    }
    assert_eq!(store.store.allocated().unwrap().len(), 0, "a refused id stayed allocated");
    fs::write("/proc/sys/kernel/sem", before).unwrap();
    drop(store.store.retrieve(2048).unwrap().lock().unwrap());
}

fn the_error_for_a_large_set_names_the_first_number() {
    asserts_refusal_under(&Store::new("sem", ""), "250 32000 500 128", "first");
}

fn the_error_for_too_many_semaphores_names_the_second_number() {
    let store = Store::new("sem", "");
    drop(store.store.retrieve(0).unwrap());
    asserts_refusal_under(&store, "32000 2000 500 128", "second");
}

fn the_error_for_too_many_steps_names_the_third_number() {
    asserts_refusal_under(&Store::new("sem", ""), "32000 32000 5 128", "third");
}

fn the_error_for_too_many_sets_names_the_fourth_number() {
    let store = Store::new("sem", "");
    drop(store.store.retrieve(0).unwrap());
    asserts_refusal_under(&store, "32000 32000 500 1", "fourth");
}

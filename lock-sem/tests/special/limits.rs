//! The limits of the kernel, lowered in an IPC namespace.

use std::fs;

use lock_core::ErrorKind;

use crate::{Store, tests};

tests! {
    #[alone] a_set_that_is_too_large_names_the_first_number,
    #[alone] too_many_semaphores_name_the_second_number,
    #[alone] an_operation_with_too_many_steps_names_the_third_number,
    #[alone] too_many_sets_name_the_fourth_number,
}

/// Asserts that the store has no room for a lock under these limits, that the error says which number of kernel.sem to raise, and
/// that the lock is there when it was raised.
fn refused_and_then_not(store: &Store, limits: &str, number: &str) {
    let before = fs::read_to_string("/proc/sys/kernel/sem").unwrap();
    fs::write("/proc/sys/kernel/sem", limits).unwrap();
    let error = store.store.retrieve(2048).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("the {number} number of the sysctl kernel.sem")), "{text}");
    for _ in 0..10 {
        store.store.allocate_and_retrieve(2048, "").unwrap_err();
    }
    assert_eq!(store.store.allocated().unwrap().len(), 0, "ids without handles stay allocated");
    fs::write("/proc/sys/kernel/sem", before).unwrap();
    drop(store.store.retrieve(2048).unwrap().lock().unwrap());
}

fn a_set_that_is_too_large_names_the_first_number() {
    refused_and_then_not(&Store::new("sem", ""), "250 32000 500 128", "first");
}

fn too_many_semaphores_name_the_second_number() {
    let store = Store::new("sem", "");
    drop(store.store.retrieve(0).unwrap());
    refused_and_then_not(&store, "32000 2000 500 128", "second");
}

fn an_operation_with_too_many_steps_names_the_third_number() {
    refused_and_then_not(&Store::new("sem", ""), "32000 32000 5 128", "third");
}

fn too_many_sets_name_the_fourth_number() {
    let store = Store::new("sem", "");
    drop(store.store.retrieve(0).unwrap());
    refused_and_then_not(&store, "32000 32000 500 1", "fourth");
}

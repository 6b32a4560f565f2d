//! The serialized forms, which programs may store.

use std::fmt::Debug;

use std::time::Duration;

use lock_core::{
    Allocation, Cause, Deadlock, Death, Generation, HeldLock, Holder, Label, LockId, Reconciled, StoreId, WaitGraph, Waiter,
    Waits,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn is_stored_as<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, stored: Value) {
    assert_eq!(serde_json::to_value(&value).unwrap(), stored);
    assert_eq!(serde_json::from_value::<T>(stored).unwrap(), value);
}

#[test]
fn ids_are_numbers_or_texts() {
    is_stored_as(LockId::new(7), json!(7));
    is_stored_as(Generation::new(7), json!(7));
    is_stored_as(StoreId::new(7), json!("00000000-0000-0000-0000-000000000007"));
    assert!(serde_json::from_value::<StoreId>(json!("7")).is_err());
}

#[test]
fn a_label_is_a_text_and_is_checked() {
    is_stored_as(Label::new("pod web").unwrap(), json!("pod web"));
    let error = serde_json::from_value::<Label>(json!("two\nlines")).unwrap_err();
    assert!(error.to_string().contains("control character"), "{error}");
}

#[test]
fn a_holder_has_no_thread_where_only_the_process_is_known() {
    let stored = json!({ "pid": 7, "tid": null, "start_time": null, "pid_namespace": null, "command": "make" });
    is_stored_as(Holder::of_process(7).with_command("make"), stored);
    let stored = json!({ "pid": 7, "tid": 8, "start_time": null, "pid_namespace": null, "command": "" });
    is_stored_as(Holder::of_process(7).with_thread(8), stored);
}

#[test]
fn a_death_has_the_name_of_its_cause() {
    is_stored_as(Death::of(None).with_cause(Cause::ProcessEnded), json!({ "holder": null, "cause": "process_ended" }));
    assert_eq!(serde_json::from_value::<Cause>(json!("a later cause")).unwrap(), Cause::Unknown);
}

#[test]
fn listings_have_the_names_of_their_fields() {
    let stored = json!({ "id": 7, "label": "", "is_named": false, "is_temporary": false, "generation": null, "allocator": null, "since": null });
    is_stored_as(Allocation::new(LockId::new(7)), stored);
    // The form before ids had names.
    let earlier = json!({ "id": 7, "label": "", "generation": null, "allocator": null, "since": null });
    assert_eq!(serde_json::from_value::<Allocation>(earlier).unwrap(), Allocation::new(LockId::new(7)));
    is_stored_as(HeldLock::new(LockId::new(7), None), json!({ "id": 7, "holder": null, "waiters": null }));
    let mut uncertain = HeldLock::new(LockId::new(7), None);
    uncertain.doubt = Some("an example".to_owned());
    is_stored_as(uncertain, json!({ "id": 7, "holder": null, "waiters": null, "doubt": "an example" }));
    is_stored_as(Waits::default(), json!({ "waiters": [], "incomplete": null }));
    let waiter = Waiter::new(LockId::new(7), Holder::of_process(8)).with_waited(Some(Duration::from_millis(1500)));
    let stored = serde_json::to_value(&waiter).unwrap();
    assert_eq!((&stored["waited"], &stored["is_lost"]), (&json!(1.5), &json!(false)));
    assert_eq!(serde_json::from_value::<Waiter>(stored).unwrap(), waiter);
    is_stored_as(Reconciled::default(), json!({ "allocated": [], "freed": [] }));
}

#[test]
fn a_deadlock_is_stored_with_its_steps() {
    let holder = json!({ "pid": 7, "tid": 8, "start_time": null, "pid_namespace": null, "command": "cp" });
    let lock = |id: u32| json!({ "store": "shm:/run/app/locks", "id": id });
    let step = |holds, waits_for| json!({ "holds": lock(holds), "holder": holder, "waiter": holder, "waits_for": lock(waits_for), "dependence": "thread" });
    let stored = json!({ "steps": [step(1, 2), step(2, 1)] });
    let cycle: Deadlock = serde_json::from_value(stored.clone()).unwrap();
    assert!(cycle.is_certain() && cycle.steps[1].waits_for.id == LockId::new(1));
    is_stored_as(cycle, stored);
    let stored = json!({ "locks": [], "waits": [], "cycles": [], "stores": [] });
    is_stored_as(WaitGraph::default(), stored);
}

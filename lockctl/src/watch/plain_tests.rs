use super::*;

fn row(id: u32, condition: Condition) -> Row {
    Row {
        id: LockId::new(id),
        condition,
        label: String::new(),
        holder: Some(Holder::of_process(40).with_thread(40).with_command("make")),
        doubt: None,
        held_for: None,
        waiters: Some(0),
        longest_wait: None,
    }
}

fn sample(rows: Vec<Row>) -> Reading {
    Reading::Sample(Sample { rows, unseen: None })
}

fn sentences(log: &mut Log, reading: &Reading) -> Vec<String> {
    log.events(reading).iter().map(|event| event.sentence("shm:test")).collect()
}

#[test]
fn a_trouble_has_a_line_when_it_begins_changes_and_ends() {
    let mut log = Log::default();
    let nothing: [&str; 0] = [];
    let held = sample(vec![row(1, Condition::Held)]);
    assert_eq!(sentences(&mut log, &held), ["shm:test: 1 lock held or waited for, 0 in trouble"]);
    assert_eq!(sentences(&mut log, &held), nothing);
    let mut waited_for = row(1, Condition::LongWait);
    waited_for.waiters = Some(1);
    waited_for.longest_wait = Some(Duration::from_secs(2));
    let begins = sample(vec![waited_for.clone()]);
    let text = "lock 1 is in trouble: long wait, held by pid 40 (make); 1 thread waits, the longest for ≥2.0s";
    assert_eq!(sentences(&mut log, &begins), [text]);
    // A longer wait is no change.
    waited_for.longest_wait = Some(Duration::from_secs(3));
    waited_for.waiters = Some(2);
    assert_eq!(sentences(&mut log, &sample(vec![waited_for.clone()])), nothing);
    waited_for.condition = Condition::Stopped;
    waited_for.held_for = Some(Duration::from_secs(65));
    waited_for.label = "web".to_owned();
    let text = "lock 1 is still in trouble, before: long wait, now: stopped, held by pid 40 (make) for ≥1m05s; 2 threads wait, the \
                longest for ≥3.0s; its label is \"web\"";
    assert_eq!(sentences(&mut log, &sample(vec![waited_for])), [text]);
    assert_eq!(sentences(&mut log, &held), ["lock 1 is no longer in trouble: stopped"]);
    assert_eq!(sentences(&mut log, &held), nothing);
}

#[test]
fn another_holder_is_a_change_of_the_trouble() {
    let mut log = Log::default();
    let dead = row(1, Condition::Dead);
    assert_eq!(log.events(&sample(vec![dead.clone()])).len(), 2);
    let other = Row { holder: Some(Holder::of_process(41)), ..dead };
    let text = "lock 1 is still in trouble: dead, held by pid 41; 0 threads wait";
    assert_eq!(sentences(&mut log, &sample(vec![other])), [text]);
}

#[test]
fn a_long_wait_is_the_same_trouble_under_each_holder() {
    let mut log = Log::default();
    let waited_for = row(1, Condition::LongWait);
    log.events(&sample(vec![waited_for.clone()]));
    let other = Row { holder: Some(Holder::of_process(41)), ..waited_for };
    assert!(log.events(&sample(vec![other])).is_empty());
}

#[test]
fn the_worst_trouble_of_a_reading_is_first() {
    let rows =
        vec![row(1, Condition::LongHold), row(2, Condition::Held), row(3, Condition::Deadlock), row(4, Condition::LongHold)];
    let events = Log::default().events(&sample(rows));
    let ids: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Trouble { row, .. } => Some(row.id.get()),
            _ => None,
        })
        .collect();
    assert_eq!(ids, [3, 1, 4]);
}

#[test]
fn a_lost_store_has_a_line_when_it_goes_and_when_it_is_back() {
    let mut log = Log::default();
    let dead = sample(vec![row(1, Condition::Dead)]);
    log.events(&dead);
    let lost = Reading::Lost("it does not exist".to_owned());
    assert_eq!(sentences(&mut log, &lost), ["the store cannot be read, still trying: it does not exist"]);
    assert!(log.events(&lost).is_empty());
    assert_eq!(sentences(&mut log, &dead), ["the store is back: 1 lock held or waited for, 1 in trouble"]);
    log.events(&lost);
    let empty = sample(Vec::new());
    let lines = ["the store is back: 0 locks held or waited for, 0 in trouble", "lock 1 is no longer in trouble: dead"];
    assert_eq!(sentences(&mut log, &empty), lines);
}

/// Scripts read the names.
#[test]
fn the_keys_of_the_json_lines_are_stable() {
    let mut log = Log::default();
    let readings = [sample(vec![row(1, Condition::LostWakeUp)]), Reading::Lost("gone".to_owned()), sample(Vec::new())];
    let events: Vec<_> = readings.iter().flat_map(|reading| log.events(reading)).collect();
    let lines: Vec<_> = events
        .iter()
        .map(|event| serde_json::to_value(Record { time: "T", store: "shm:test", event }).unwrap())
        .map(|line| (line["event"].as_str().unwrap().to_owned(), line.as_object().unwrap().keys().cloned().collect::<Vec<_>>()))
        .collect();
    let counts: &[&str] = &["event", "locks", "store", "time", "troubles"];
    let trouble: &[&str] = &[
        "condition",
        "doubt",
        "event",
        "held_for_at_least",
        "holder",
        "id",
        "label",
        "longest_wait",
        "store",
        "time",
        "waiters",
        "was",
    ];
    let wanted = [
        ("started", counts),
        ("trouble", trouble),
        ("lost", &["event", "reason", "store", "time"]),
        ("back", counts),
        ("ended", &["event", "id", "store", "time", "was"]),
    ];
    for ((event, mut keys), (name, wanted)) in lines.into_iter().zip(wanted) {
        keys.sort();
        assert_eq!((event.as_str(), keys), (name, wanted.iter().map(ToString::to_string).collect()));
    }
}

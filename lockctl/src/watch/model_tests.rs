use std::time::Duration;

use lock_any::{Holder, LockId};

use super::*;
use crate::watch::row::Condition;

fn row(id: u32, condition: Condition) -> Row {
    let holder = Holder::of_process(100 + id).with_thread(100 + id).with_command(format!("worker {id}"));
    Row {
        id: LockId::new(id),
        condition,
        label: String::new(),
        holder: Some(holder),
        doubt: None,
        held_for: None,
        waiters: Some(0),
        longest_wait: None,
    }
}

fn sample(rows: Vec<Row>) -> Sample {
    Sample { rows, unseen: None }
}

fn model(rows: Vec<Row>) -> Model {
    Model::new("shm:test".to_owned(), Duration::from_secs(1), sample(rows))
}

/// The ids in the order of the view.
fn ids(model: &mut Model) -> Vec<u32> {
    model.window(usize::MAX).0.iter().map(|row| row.id.get()).collect()
}

fn selected(model: &Model) -> Option<u32> {
    model.selected_row().map(|row| row.id.get())
}

fn held(ids: impl IntoIterator<Item = u32>) -> Vec<Row> {
    ids.into_iter().map(|id| row(id, Condition::Held)).collect()
}

#[test]
fn trouble_is_first_and_the_worst_on_top() {
    let conditions = [
        Condition::Held,
        Condition::Free,
        Condition::Contended,
        Condition::LongHold,
        Condition::LongWait,
        Condition::Doubtful,
        Condition::Stopped,
        Condition::LostWakeUp,
        Condition::Dead,
        Condition::Deadlock,
    ];
    let rows = conditions.iter().zip(0..).map(|(condition, id)| row(id, *condition)).collect();
    assert_eq!(ids(&mut model(rows)), [9, 8, 7, 6, 5, 4, 3, 2, 0, 1]);
}

#[test]
fn of_the_same_trouble_the_longest_wait_is_first_and_then_the_longest_hold() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let mut rows: Vec<_> = (1..=5).map(|id| row(id, Condition::LongWait)).collect();
    rows[1].longest_wait = seconds(3);
    rows[2].longest_wait = seconds(9);
    rows[3].held_for = seconds(2);
    rows[4].waiters = Some(4);
    assert_eq!(ids(&mut model(rows)), [3, 2, 4, 5, 1]);
}

#[test]
fn each_order_can_be_chosen_and_reversed() {
    let mut rows = held([1, 2, 3]);
    rows[0].waiters = Some(5);
    rows[1].held_for = Some(Duration::from_secs(1));
    rows[1].condition = Condition::Dead;
    rows[2].label = "web".to_owned();
    rows[2].longest_wait = Some(Duration::from_secs(1));
    let mut model = model(rows);
    let orders = [
        (Sort::Trouble, [2, 3, 1]),
        (Sort::Id, [1, 2, 3]),
        (Sort::HeldFor, [2, 1, 3]),
        (Sort::Waiters, [1, 2, 3]),
        (Sort::LongestWait, [3, 1, 2]),
        (Sort::Label, [3, 1, 2]),
        (Sort::Trouble, [2, 3, 1]),
    ];
    for (sort, order) in orders {
        assert_eq!((model.sort, ids(&mut model)), (sort, order.to_vec()));
        model.act(Action::Reverse);
        let mut reversed = order.to_vec();
        reversed.reverse();
        assert_eq!(ids(&mut model), reversed, "{sort:?}");
        model.act(Action::Reverse);
        model.act(Action::Sort);
    }
}

#[test]
fn a_filter_finds_ids_states_labels_pids_and_commands() {
    let mut rows = held([1, 2, 33]);
    rows[0].label = "Nightly backup".to_owned();
    rows[1].condition = Condition::Stopped;
    rows[2].holder = Some(Holder::of_process(4711).with_host("Build-7").with_command("make install"));
    let mut model = model(rows);
    for (text, found) in [
        ("backup", vec![1]),
        ("NIGHTLY", vec![1]),
        ("stopped", vec![2]),
        ("33", vec![33]),
        ("4711", vec![33]),
        ("build-7", vec![33]),
        ("make 47", vec![33]),
        ("make backup", vec![]),
        ("worker", vec![2, 1]),
        (" ", vec![2, 1, 33]),
    ] {
        model.act(Action::ClearFilter);
        model.act(Action::StartFilter);
        for character in text.chars() {
            model.act(Action::Type(character));
        }
        assert_eq!(ids(&mut model), found, "{text:?}");
    }
    model.act(Action::EndFilter);
    assert!(!model.is_typing);
    model.act(Action::ClearFilter);
    assert_eq!(model.admitted(), 3);
}

#[test]
fn a_typed_character_can_be_erased() {
    let mut model = model(held([1, 2]));
    for action in [Action::StartFilter, Action::Type('x'), Action::Erase, Action::Erase] {
        model.act(action);
    }
    assert_eq!((model.filter.as_str(), model.admitted()), ("", 2));
}

#[test]
fn the_selection_stays_with_its_lock() {
    let mut model = model(held([1, 2, 3]));
    model.act(Action::Move(Motion::Down));
    assert_eq!(selected(&model), Some(2));
    let mut rows = held([1, 2, 3]);
    rows[1].condition = Condition::Dead;
    model.read(Reading::Sample(sample(rows)));
    assert_eq!(selected(&model), Some(2));
    // The lock is released: the selection stays where it was.
    model.read(Reading::Sample(sample(held([1, 3]))));
    assert_eq!(selected(&model), Some(1));
    model.read(Reading::Sample(sample(Vec::new())));
    assert_eq!(selected(&model), None);
    model.read(Reading::Sample(sample(held([5]))));
    assert_eq!(selected(&model), Some(5));
}

#[test]
fn the_selection_of_the_first_line_follows_the_worst_trouble() {
    let mut model = model(held([1, 2]));
    let mut rows = held([1, 2]);
    rows[1].condition = Condition::Stopped;
    model.read(Reading::Sample(sample(rows)));
    assert_eq!(selected(&model), Some(2));
}

#[test]
fn the_window_follows_the_selection() {
    let mut model = model(held(0..100));
    let shown = |model: &mut Model| {
        let (rows, selected) = model.window(10);
        (rows[0].id.get(), rows.len(), selected)
    };
    assert_eq!(shown(&mut model), (0, 10, Some(0)));
    model.act(Action::Move(Motion::PageDown));
    assert_eq!(shown(&mut model), (1, 10, Some(9)));
    model.act(Action::Move(Motion::Up));
    assert_eq!(shown(&mut model), (1, 10, Some(8)));
    model.act(Action::Move(Motion::End));
    assert_eq!(shown(&mut model), (90, 10, Some(9)));
    model.act(Action::Move(Motion::Home));
    assert_eq!(shown(&mut model), (0, 10, Some(0)));
    model.act(Action::Move(Motion::PageUp));
    assert_eq!(shown(&mut model), (0, 10, Some(0)));
    // The screen grows, shrinks and has no space at all.
    model.act(Action::Move(Motion::End));
    assert_eq!(model.window(1000).0.len(), 100);
    assert_eq!(shown(&mut model), (90, 10, Some(9)));
    assert_eq!(model.window(0), (Vec::new(), None));
    assert_eq!(shown(&mut model), (90, 10, Some(9)));
}

#[test]
fn only_the_selected_lock_is_explained_and_only_with_details() {
    let mut model = model(held([1, 2]));
    let explanation = |id| Explanation { id: LockId::new(id), lines: vec!["text".to_owned()] };
    assert_eq!(model.wanted().explained, None);
    model.act(Action::Details);
    assert_eq!(model.wanted().explained, Some(LockId::new(1)));
    model.explain(explanation(2));
    assert_eq!(model.explanation, None);
    model.explain(explanation(1));
    assert_eq!(model.explanation, Some(explanation(1)));
    model.act(Action::Move(Motion::Down));
    assert_eq!((model.explanation.as_ref(), model.wanted().explained), (None, Some(LockId::new(2))));
    model.act(Action::Details);
    assert_eq!(model.wanted().explained, None);
}

#[test]
fn a_lost_store_keeps_the_last_locks_until_it_is_back() {
    let mut model = model(held([1]));
    model.read(Reading::Lost("it does not exist".to_owned()));
    assert_eq!((model.lost.as_deref(), model.admitted()), (Some("it does not exist"), 1));
    model.read(Reading::Sample(sample(Vec::new())));
    assert_eq!((model.lost.as_deref(), model.admitted()), (None, 0));
}

#[test]
fn any_key_closes_the_help_and_a_second_one_quits() {
    let mut model = model(Vec::new());
    assert!(model.act(Action::Help) && model.has_help);
    assert!(model.act(Action::Quit) && !model.has_help);
    assert!(!model.act(Action::Quit));
}

use lock_any::{Holder, LockId};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::watch::keys::{Action, Motion};
use crate::watch::model::Explanation;
use crate::watch::reader::{Reading, Sample};

fn row(id: u32, condition: Condition) -> Row {
    let pid = 1000 + id;
    let holder = Holder::of_process(pid).with_thread(pid).with_command(format!("worker --number {id}"));
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

fn model(rows: Vec<Row>) -> Model {
    Model::new("shm:test".to_owned(), Duration::from_secs(1), Sample { rows, unseen: None })
}

/// The lines of a screen of this size, without spaces at their ends.
fn screen(model: &mut Model, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, Palette::Colours)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

/// A stopped holder with waiters, a contended lock, and a free one that is about to be acquired.
fn scene() -> Vec<Row> {
    let mut stopped = row(2, Condition::Stopped);
    stopped.held_for = Some(Duration::from_millis(72_000));
    stopped.waiters = Some(3);
    stopped.longest_wait = Some(Duration::from_millis(71_900));
    stopped.label = "database".to_owned();
    let mut contended = row(1, Condition::Contended);
    contended.waiters = Some(2);
    contended.longest_wait = Some(Duration::from_millis(250));
    contended.label = "web cache".to_owned();
    let mut free = row(7, Condition::Free);
    free.holder = None;
    free.waiters = Some(1);
    vec![contended, stopped, free]
}

#[test]
fn the_screen_has_a_summary_the_locks_and_the_keys() {
    let lines = screen(&mut model(scene()), 100, 8);
    let wanted = [
        "shm:test  every 1 s",
        "2 held, 6 waiting, 1 in trouble: 1 stopped",
        " ID STATE         PID COMMAND                                         HELD WAITERS LONGEST LABEL",
        "  2 stopped      1002 worker --number 2                             ≥1m12s       3  ≥1m11s database",
        "  1 contended    1001 worker --number 1                                          2   ≥0.2s web cache",
        "  7 free                                                                         1",
        "",
        "q quit  ? help  s sort: trouble  r reverse  / filter  d details  p pause",
    ];
    assert_eq!(lines, wanted, "{}", lines.join("\n"));
}

#[test]
fn threads_and_hosts_have_a_place_and_reasons_replace_a_command() {
    let mut of_thread = row(1, Condition::Held);
    of_thread.holder = Some(Holder::of_process(50).with_thread(51).with_host("build-7").with_command("make"));
    let mut unknown = row(2, Condition::Doubtful);
    unknown.holder = None;
    unknown.doubt = Some("its process is hidden".to_owned());
    let mut anonymous = row(3, Condition::Held);
    anonymous.holder = None;
    anonymous.waiters = None;
    let lines = screen(&mut model(vec![of_thread, unknown, anonymous]), 90, 7);
    let wanted = [
        " ID STATE         PID     TID COMMAND                                 HELD WAITERS LONGEST",
        "  2 doubtful                  (its process is hidden)                            0",
        "  1 held           50      51 make on build-7                                    0",
        "  3 held                      (not recorded)",
    ];
    assert_eq!(lines[2..6], wanted, "{}", lines.join("\n"));
}

#[test]
fn control_characters_of_labels_and_commands_are_escaped() {
    let mut row = row(1, Condition::Held);
    row.label = "a\u{1b}[2J".to_owned();
    row.holder = row.holder.map(|holder| holder.with_command("b\nc"));
    let text = screen(&mut model(vec![row]), 100, 6).join("\n");
    assert!(text.contains("a\\u{1b}[2J") && text.contains("b\\nc"), "{text}");
}

#[test]
fn the_explanation_of_the_selected_lock_is_below_the_locks() {
    let mut model = model(scene());
    model.act(Action::Move(Motion::Down));
    model.act(Action::Details);
    let lines = vec!["lock 1 is held by pid 1001".to_owned(), "x".repeat(70)];
    model.explain(Explanation { id: LockId::new(1), lines });
    let lines = screen(&mut model, 60, 15);
    let title = format!(" lock 1 {}", "─".repeat(52));
    assert_eq!(lines[9..14], [title, "lock 1 is held by pid 1001".to_owned(), "x".repeat(60), "x".repeat(10), String::new()]);
}

#[test]
fn the_header_says_what_is_wrong_with_the_store() {
    let mut model = model(scene());
    model.act(Action::Pause);
    model.read(Reading::Lost("open shm:test: the store does not exist".to_owned()));
    let lines = screen(&mut model, 120, 8);
    assert_eq!(lines[0], "shm:test  every 1 s  PAUSED");
    assert!(lines[1].starts_with("open shm:test: the store does not exist; still trying"), "{}", lines[1]);
    assert!(lines[3].contains("worker --number 2"));
}

#[test]
fn the_footer_shows_the_filter_and_the_order() {
    let mut model = model(scene());
    let last = |model: &mut Model| screen(model, 110, 8).pop().unwrap();
    model.act(Action::StartFilter);
    model.act(Action::Type('7'));
    assert!(last(&mut model).starts_with("/7_ "));
    model.act(Action::EndFilter);
    model.act(Action::Reverse);
    let text = last(&mut model);
    assert!(text.contains("s sort: trouble, reversed") && text.contains("/ filter: 7 (1 of 3)"), "{text}");
    model.act(Action::Type('x'));
    assert_eq!(screen(&mut model, 80, 8)[2], "no lock matches the filter");
}

#[test]
fn a_store_without_held_locks_says_so() {
    let lines = screen(&mut model(Vec::new()), 80, 6);
    assert_eq!(lines[1..3], ["0 held, 0 waiting, no trouble", "no lock is held"]);
}

#[test]
fn a_backend_that_does_not_know_waiters_counts_none() {
    let mut rows = vec![row(1, Condition::Held)];
    rows[0].waiters = None;
    assert_eq!(screen(&mut model(rows), 80, 6)[1], "1 held, waiters not known, no trouble");
}

#[test]
fn the_help_names_the_keys() {
    let mut model = model(scene());
    model.act(Action::Help);
    let text = screen(&mut model, 110, 24).join("\n");
    for (keys, about) in keys::HELP {
        assert!(text.contains(keys) && text.contains(about), "{keys}: {text}");
    }
}

/// Also with many locks, the help, details and a filter, no size makes drawing panic.
#[test]
fn any_size_of_the_screen_is_drawn() {
    let mut model = model((0..200).map(|id| row(id, Condition::Held)).collect());
    model.act(Action::Details);
    model.act(Action::Move(Motion::End));
    for has_help in [false, true] {
        model.has_help = has_help;
        for (width, height) in [(0, 0), (1, 1), (2, 3), (5, 4), (20, 9), (40, 10), (300, 3), (3, 300), (300, 100)] {
            assert_eq!(screen(&mut model, width, height).len(), usize::from(height));
        }
    }
}

#[test]
fn trouble_is_red_on_a_terminal_with_colours_only() {
    let mut terminal = Terminal::new(TestBackend::new(80, 6)).unwrap();
    for (palette, colour) in [(Palette::Colours, Color::Red), (Palette::Plain, Color::Reset)] {
        terminal.draw(|frame| draw(frame, &mut model(scene()), palette)).unwrap();
        let cell = &terminal.backend().buffer()[(4, 3)];
        assert_eq!((cell.symbol(), cell.fg), ("s", colour));
    }
}

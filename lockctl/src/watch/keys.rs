//! The keys of the live view.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Quit,
    Move(Motion),
    Sort,
    Reverse,
    Details,
    Pause,
    Help,
    StartFilter,
    Type(char),
    Erase,
    EndFilter,
    ClearFilter,
}

/// A motion of the selection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Motion {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// A key, as the view deals with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    Action(Action),
    /// Ends the view in every state.
    Interrupt,
    /// Stops the program, as the terminal does outside of the view.
    Suspend,
}

/// The keys with their meaning, for the help.
pub(crate) const HELP: [(&str, &str); 10] = [
    ("Up Down k j", "select a lock"),
    ("PgUp PgDn Home End g G", "select by page, the first and the last"),
    ("Enter d", "explain the selected lock, as lockctl why does"),
    ("s", "sort by the next column"),
    ("r", "reverse the order"),
    ("/", "filter by id, state, label, pid, tid or command; Esc clears it"),
    ("p Space", "pause, and go on"),
    ("? h", "this help"),
    ("Ctrl-Z", "suspend"),
    ("q Esc Ctrl-C", "quit"),
];

/// Returns the meaning of a key. While the user types the filter, most keys are characters of it.
pub(crate) fn key(event: KeyEvent, is_typing: bool, has_filter: bool) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    if event.modifiers.contains(KeyModifiers::CONTROL) {
        return match event.code {
            KeyCode::Char('c') => Some(Key::Interrupt),
            KeyCode::Char('z') => Some(Key::Suspend),
            KeyCode::Char('u') if is_typing => Some(Key::Action(Action::ClearFilter)),
            _ => None,
        };
    }
    let action = if is_typing { typed(event.code) } else { command(event.code, has_filter) };
    action.map(Key::Action)
}

fn typed(code: KeyCode) -> Option<Action> {
    match code {
        KeyCode::Char(character) => Some(Action::Type(character)),
        KeyCode::Backspace => Some(Action::Erase),
        KeyCode::Enter => Some(Action::EndFilter),
        KeyCode::Esc => Some(Action::ClearFilter),
        code => motion(code).map(Action::Move),
    }
}

fn command(code: KeyCode, has_filter: bool) -> Option<Action> {
    Some(match code {
        KeyCode::Char('q') => Action::Quit,
        // The first Esc clears the filter.
        KeyCode::Esc if has_filter => Action::ClearFilter,
        KeyCode::Esc => Action::Quit,
        KeyCode::Char('k') => Action::Move(Motion::Up),
        KeyCode::Char('j') => Action::Move(Motion::Down),
        KeyCode::Char('g') => Action::Move(Motion::Home),
        KeyCode::Char('G') => Action::Move(Motion::End),
        KeyCode::Char('s') => Action::Sort,
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('/') => Action::StartFilter,
        KeyCode::Char('d') | KeyCode::Enter => Action::Details,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('?' | 'h') => Action::Help,
        code => return motion(code).map(Action::Move),
    })
}

fn motion(code: KeyCode) -> Option<Motion> {
    match code {
        KeyCode::Up => Some(Motion::Up),
        KeyCode::Down => Some(Motion::Down),
        KeyCode::PageUp => Some(Motion::PageUp),
        KeyCode::PageDown => Some(Motion::PageDown),
        KeyCode::Home => Some(Motion::Home),
        KeyCode::End => Some(Motion::End),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn pressed(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[rstest]
    #[case(KeyCode::Char('q'), Action::Quit)]
    #[case(KeyCode::Esc, Action::Quit)]
    #[case(KeyCode::Char('j'), Action::Move(Motion::Down))]
    #[case(KeyCode::Up, Action::Move(Motion::Up))]
    #[case(KeyCode::PageDown, Action::Move(Motion::PageDown))]
    #[case(KeyCode::Char('s'), Action::Sort)]
    #[case(KeyCode::Enter, Action::Details)]
    fn a_key_is_a_command(#[case] code: KeyCode, #[case] action: Action) {
        assert_eq!(key(pressed(code), false, false), Some(Key::Action(action)));
    }

    #[test]
    fn keys_are_characters_while_the_filter_is_typed() {
        let typed = |code| key(pressed(code), true, true);
        assert_eq!(typed(KeyCode::Char('q')), Some(Key::Action(Action::Type('q'))));
        assert_eq!(typed(KeyCode::Esc), Some(Key::Action(Action::ClearFilter)));
        assert_eq!(typed(KeyCode::Enter), Some(Key::Action(Action::EndFilter)));
        assert_eq!(typed(KeyCode::Down), Some(Key::Action(Action::Move(Motion::Down))));
    }

    #[test]
    fn esc_clears_a_filter_before_it_quits() {
        assert_eq!(key(pressed(KeyCode::Esc), false, true), Some(Key::Action(Action::ClearFilter)));
        assert_eq!(key(pressed(KeyCode::Esc), false, false), Some(Key::Action(Action::Quit)));
    }

    #[test]
    fn control_c_interrupts_and_control_z_suspends_also_while_the_filter_is_typed() {
        for is_typing in [false, true] {
            let control = |character| key(KeyEvent::new(KeyCode::Char(character), KeyModifiers::CONTROL), is_typing, false);
            assert_eq!(control('c'), Some(Key::Interrupt));
            assert_eq!(control('z'), Some(Key::Suspend));
            assert_eq!(control('q'), None);
        }
    }

    #[test]
    fn the_release_of_a_key_means_nothing() {
        let event = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(key(event, false, false), None);
    }
}

//! The live view on a terminal: a loop that draws the model after each reading and each key.

use std::env;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use ratatui::crossterm::event::{self, Event, KeyEvent};

use super::keys::{self, Key};
use super::model::{Explanation, Model, Wanted};
use super::reader::{Reader, Reading};
use super::signals;
use super::terminal::{self, Screen};
use super::view::{self, Palette};
use crate::exit::{ExitStatus, Failure};
use crate::sys;

/// The number of messages that may wait for the main loop. A terminal that is stopped must not make them pile up.
const MESSAGES: usize = 16;

/// What the main loop gets from its threads.
enum Message {
    Key(KeyEvent),
    Resized,
    Reading(Reading),
    Explanation(Explanation),
    Signal(Signal),
    /// The terminal was closed, or keys cannot be read.
    Gone(io::Error),
}

/// How the view goes on after a message.
enum Next {
    Go,
    End,
    Suspend,
    Resume,
    Die(Signal),
}

/// Shows the view until the user quits.
pub(crate) fn run(reader: Reader, mut model: Model, interval: Duration) -> Result<(), Failure> {
    let palette = match env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        true => Palette::Plain,
        false => Palette::Colours,
    };
    let (send, messages) = mpsc::sync_channel(MESSAGES);
    let failed = |error| Failure::of_call("cannot receive signals", error, ExitStatus::SYSTEM);
    let of_signals = send.clone();
    signals::receive(move |signal| drop(of_signals.try_send(Message::Signal(signal)))).map_err(failed)?;
    // Any output to the terminal comes from this thread until it is restored.
    let mut screen = Screen::enter()?;
    // From here on a change of the size is noticed, also one before the keys are read.
    event::poll(Duration::ZERO)?;
    let wants = start_threads(reader, interval, send)?;
    let mut wanted = Wanted::default();
    loop {
        screen.terminal.draw(|frame| view::draw(frame, &mut model, palette))?;
        let first = messages.recv().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        // All messages that are there already are dealt with before the screen is drawn again.
        for message in std::iter::once(first).chain(std::iter::from_fn(|| messages.try_recv().ok())) {
            match take(message, &mut model)? {
                Next::Go => {}
                Next::End => return Ok(()),
                Next::Suspend => {
                    terminal::restore();
                    sys::take_default_action(Signal::SIGTSTP as i32);
                    screen.resume()?;
                }
                Next::Resume => screen.resume()?,
                Next::Die(signal) => {
                    drop(screen);
                    sys::take_default_action(signal as i32);
                    return Ok(());
                }
            }
        }
        if model.wanted() != wanted {
            wanted = model.wanted();
            // The reader ends with this process only.
            let _ = wants.send(wanted);
        }
    }
}

fn take(message: Message, model: &mut Model) -> Result<Next, Failure> {
    Ok(match message {
        Message::Key(event) => match keys::key(event, model.is_typing, !model.filter.is_empty()) {
            Some(Key::Interrupt) => Next::End,
            Some(Key::Suspend) => Next::Suspend,
            Some(Key::Action(action)) if !model.act(action) => Next::End,
            Some(Key::Action(_)) | None => Next::Go,
        },
        Message::Resized => Next::Go,
        Message::Reading(reading) => {
            model.read(reading);
            Next::Go
        }
        Message::Explanation(explanation) => {
            model.explain(explanation);
            Next::Go
        }
        Message::Signal(Signal::SIGTSTP) => Next::Suspend,
        Message::Signal(Signal::SIGCONT) => Next::Resume,
        Message::Signal(signal) => Next::Die(signal),
        Message::Gone(error) => return Err(Failure::of_call("the terminal was closed", error, ExitStatus::OUTPUT)),
    })
}

/// Starts the threads that read the store and the keys, and that notice the end of the terminal.
fn start_threads(reader: Reader, interval: Duration, send: SyncSender<Message>) -> Result<Sender<Wanted>, Failure> {
    let (wants, wanted) = mpsc::channel();
    let (of_keys, of_end) = (send.clone(), send.clone());
    let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        thread.map(drop).map_err(|error| Failure::of_call("cannot start a thread", error, ExitStatus::SYSTEM))
    };
    start("reader", Box::new(move || read_store(reader, interval, &wanted, &send)))?;
    start("keys", Box::new(move || read_keys(&of_keys)))?;
    start("end", Box::new(move || drop(of_end.send(Message::Gone(await_end())))))?;
    Ok(wants)
}

/// Reads the store in each interval, until the main loop ends.
fn read_store(mut reader: Reader, interval: Duration, wanted: &Receiver<Wanted>, send: &SyncSender<Message>) {
    let mut due = Instant::now() + interval;
    let mut want = Wanted::default();
    loop {
        let next = match want.is_paused {
            true => wanted.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => wanted.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match next {
            Ok(new) => {
                let new = std::iter::once(new).chain(wanted.try_iter()).last().unwrap_or_default();
                if want.is_paused && !new.is_paused {
                    due = Instant::now();
                }
                let is_other = new.explained != want.explained;
                want = new;
                if is_other && explain(&reader, want, send).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                if send.send(Message::Reading(reader.read())).is_err() || explain(&reader, want, send).is_err() {
                    return;
                }
                due = Instant::now() + interval;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Explains the lock that the user has selected. Returns an error if the main loop has ended.
fn explain(reader: &Reader, want: Wanted, send: &SyncSender<Message>) -> Result<(), mpsc::SendError<Message>> {
    match want.explained {
        Some(id) => send.send(Message::Explanation(Explanation { id, lines: reader.explain(id) })),
        None => Ok(()),
    }
}

fn read_keys(send: &SyncSender<Message>) {
    loop {
        let message = match event::read() {
            Ok(Event::Key(key)) => Message::Key(key),
            Ok(Event::Resize(..)) => Message::Resized,
            Ok(_) => continue,
            Err(error) => Message::Gone(error),
        };
        let is_last = matches!(message, Message::Gone(_));
        if send.send(message).is_err() || is_last {
            return;
        }
    }
}

/// Waits until the terminal is closed. `event::read` does not return then.
fn await_end() -> io::Error {
    let stdout = io::stdout();
    loop {
        let mut descriptors = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return nix::Error::EIO.into(),
            Err(error) => return error.into(),
        }
    }
}

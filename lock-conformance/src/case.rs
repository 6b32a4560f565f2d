use std::cell::RefCell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Once};

use crate::Suite;
use crate::fixture::Fixture;
use crate::need::{Lack, Need};
use crate::panic_message::panic_message;
use crate::transcript::Transcript;

/// A promise and how it is tested.
pub(crate) struct Case {
    /// Group and promise.
    pub(crate) name: &'static str,
    /// Without these it is skipped, with the reason in the listing.
    pub(crate) needs: &'static [Need],
    /// With one of these it is not there at all: it proves the refusal of what is not claimed.
    pub(crate) unless: &'static [Need],
    pub(crate) run: fn(&Fixture),
}

/// Why a case failed.
#[derive(Clone, Debug)]
pub struct Failure {
    message: String,
    transcript: String,
}

impl Case {
    /// Whether there is such a case for this suite.
    pub(crate) fn is_for(&self, suite: &Suite) -> bool {
        !self.unless.iter().any(|need| need.is_met(suite))
    }

    /// Why the case is skipped: what the backend does not claim, before what the machine lacks.
    pub(crate) fn skipped_for(&self, suite: &Suite) -> Option<Lack> {
        self.needs.iter().filter(|need| !need.is_met(suite)).map(|need| need.lack).min()
    }

    /// The promise that it belongs to.
    pub(crate) fn group(&self) -> &'static str {
        self.name.split("::").next().unwrap_or(self.name)
    }

    pub(crate) fn run(&self, suite: &Arc<Suite>) -> Result<(), Failure> {
        catch_quietly();
        let transcript = Arc::new(Transcript::new());
        CAUGHT.set(Some(String::new()));
        let (mut said, mut progress) = (String::new(), String::new());
        let done = panic::catch_unwind(AssertUnwindSafe(|| {
            let fixture = Fixture::new(suite, Arc::clone(&transcript));
            let done = panic::catch_unwind(AssertUnwindSafe(|| (self.run)(&fixture)));
            if let Err(panic) = done {
                progress = transcript.progress();
                fixture.note_messages();
                said = transcript.to_string();
                panic::resume_unwind(panic);
            }
        }));
        let mut message = CAUGHT.take().unwrap_or_default();
        if done.is_err() && message.contains("watchdog") {
            suite.note_hung();
            message = format!("{message}; {progress}");
        }
        done.map_err(|_| Failure { message, transcript: said })
    }
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), transcript: String::new() }
    }

    /// What was expected and not so, or the other way round.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the suite and its peers said to each other.
    pub fn transcript(&self) -> &str {
        &self.transcript
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if self.transcript.is_empty() {
            return Ok(());
        }
        write!(f, "\nwhat suite (<) and peers (>) said, with seconds:\n{}", self.transcript)
    }
}

impl std::error::Error for Failure {}

thread_local! {
    /// The message of a panic in a case that runs on this thread; `None` when none runs.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A case that panics has failed, which is told in its own place: not in the middle of the list.
fn catch_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let caught = CAUGHT.with_borrow_mut(|caught| caught.as_mut().map(|text| note(text, info)).is_some());
            if !caught {
                before(info);
            }
        }));
    });
}

fn note(text: &mut String, info: &PanicHookInfo<'_>) {
    if !text.is_empty() {
        return;
    }
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let said = panic_message(info.payload());
    // What a case says comes first, and the values follow in lines of their own.
    let said = ["==", "!="]
        .iter()
        .find_map(|sign| said.strip_prefix(&format!("assertion `left {sign} right` failed: ")))
        .unwrap_or(said);
    *text = format!("{said} ({place})");
}

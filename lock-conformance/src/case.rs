use std::cell::RefCell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Once};

use crate::Suite;
use crate::fixture::Fixture;
use crate::need::{Lack, Need};
use crate::panic_message::panic_message;
use crate::transcript::Transcript;

/// A test case of a promise.
pub(crate) struct Case {
    /// The name: group and promise.
    pub(crate) name: &'static str,
    /// Requirements. If one is not met, the case is skipped, with the reason in the listing.
    pub(crate) needs: &'static [Need],
    /// Claims with which the case does not exist, because it proves the refusal without the claim.
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
    /// Returns whether the case exists for this suite.
    pub(crate) fn is_for(&self, suite: &Suite) -> bool {
        !self.unless.iter().any(|need| need.is_met(suite))
    }

    /// Returns why the case is skipped: missing claims first, then what the machine lacks.
    pub(crate) fn skipped_for(&self, suite: &Suite) -> Option<Lack> {
        self.needs.iter().filter(|need| !need.is_met(suite)).map(|need| need.lack).min()
    }

    /// Returns the promise that the case belongs to.
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

    /// The message of the failure.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The messages between the suite and its peers.
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
        write!(f, "\nmessages of suite (<) and peers (>), with the time in seconds:\n{}", self.transcript)
    }
}

impl std::error::Error for Failure {}

thread_local! {
    /// The message of a panic in the case that runs on this thread; `None` if no case runs.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook that stores the message of a failed case.
///
/// The message is then reported with the case, and does not interrupt the listing.
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
    // The case's message starts the first line; the values follow on further lines.
    let said = ["==", "!="]
        .iter()
        .find_map(|sign| said.strip_prefix(&format!("assertion `left {sign} right` failed: ")))
        .unwrap_or(said);
    *text = format!("{said} ({place})");
}

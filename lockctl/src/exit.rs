//! Exit codes and error messages of the command.

use std::io;
use std::process::ExitCode;

use lock_any::{Error, ErrorDetails, ErrorKind};
use nix::errno::Errno;

use crate::output;

/// An exit code of `lockctl`, with the numbers of sysexits.h. `lockctl --help` prints the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExitStatus(u8);

macro_rules! statuses {
    ($($name:ident = $code:literal, $about:literal;)+) => {
        impl ExitStatus {
            $(
                #[doc = concat!($about, ".")]
                pub const $name: Self = Self($code);
            )+
        }

        const TABLE: &[(u8, &str)] = &[$(($code, $about),)+];
    };
}

statuses! {
    USAGE = 64, "the command line, the store's URL or a label is invalid";
    NOT_A_STORE = 65, "the file is not a store, or is corrupt or truncated; run, fd: the file or the descriptor cannot be locked";
    ABSENT = 66, "there is no such store; run: the lock file cannot be opened";
    BAD_ID = 67, "the id is out of range, not allocated, or already allocated";
    UNAVAILABLE = 69, "the command cannot be executed, the backend does not support the operation, no server answers, or the lock was lost";
    INTERNAL = 70, "an error in lockctl, or a violation in the demo";
    SYSTEM = 71, "a system call failed";
    CANNOT_CREATE = 73, "the store already exists, or its directory or space is missing";
    OUTPUT = 74, "the output could not be written";
    TEMPORARY = 75, "all ids are allocated, locks of the store to destroy are held, a limit of the system was reached, or a wait was refused because it closed a deadlock; try again later";
    OTHER_FORMAT = 76, "the store has another version, ABI or capacity";
    NOT_PERMITTED = 77, "no permission, or the store's owner, mode or links are unsafe";
    NOT_LINKED = 78, "no backend for the URL's scheme is linked, or two backends claim it";
    CLOSED_PIPE = 141, "the reader of the output closed the pipe (no message is printed)";
}

impl ExitStatus {
    /// The number.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Returns the exit code of an error of the library; `conflict` for a busy lock.
    pub(crate) fn of(error: &Error, conflict: u8) -> Self {
        match error.kind() {
            ErrorKind::TimedOut => Self(conflict),
            ErrorKind::BadUrl | ErrorKind::BadLabel => Self::USAGE,
            ErrorKind::NotAStore | ErrorKind::Corrupt => Self::NOT_A_STORE,
            ErrorKind::Absent => Self::ABSENT,
            ErrorKind::OutOfRange | ErrorKind::NotAllocated | ErrorKind::AlreadyAllocated | ErrorKind::Stale => Self::BAD_ID,
            ErrorKind::Unsupported | ErrorKind::Unreachable | ErrorKind::Lost => Self::UNAVAILABLE,
            ErrorKind::Exists => Self::CANNOT_CREATE,
            ErrorKind::Exhausted | ErrorKind::TooManyProcesses | ErrorKind::Deadlock => Self::TEMPORARY,
            ErrorKind::Destroyed | ErrorKind::Replaced => Self::TEMPORARY,
            ErrorKind::OtherVersion | ErrorKind::OtherAbi | ErrorKind::OtherCapacity => Self::OTHER_FORMAT,
            ErrorKind::Untrusted | ErrorKind::Denied => Self::NOT_PERMITTED,
            ErrorKind::UnknownScheme | ErrorKind::DuplicateScheme => Self::NOT_LINKED,
            ErrorKind::Limit => match Self::of_errno(error.raw_os_error()) {
                Self::SYSTEM => Self::TEMPORARY,
                other => other,
            },
            ErrorKind::System => Self::of_errno(error.raw_os_error()),
            _ => Self::INTERNAL,
        }
    }

    /// Returns the exit code of a failed system call of lockctl itself: temporary for a reached limit, or else `otherwise`.
    pub(crate) fn of_call(error: &io::Error, otherwise: Self) -> Self {
        if Self::of_errno(error.raw_os_error()) == Self::TEMPORARY { Self::TEMPORARY } else { otherwise }
    }

    fn of_errno(errno: Option<i32>) -> Self {
        match errno.map(Errno::from_raw) {
            Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => Self::NOT_PERMITTED,
            Some(Errno::ENOSPC | Errno::EDQUOT | Errno::ENOENT | Errno::ENOTDIR | Errno::EFBIG) => Self::CANNOT_CREATE,
            Some(Errno::EMFILE | Errno::ENFILE | Errno::EAGAIN | Errno::ENOMEM) => Self::TEMPORARY,
            _ => Self::SYSTEM,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        status.0.into()
    }
}

/// Formats the exit codes for the help.
pub(crate) fn table() -> String {
    let mut text = "Exit codes:\n    0  success; run: the exit code of the command (if signal N killed it, run dies of N: 128 + N in a shell)\n".to_owned();
    text += "    1  run: the lock is busy or the wait timed out (another code with -E)\n";
    for (code, about) in TABLE {
        text += &format!("  {code:>3}  {about}\n");
    }
    text
}

/// A failure of the command: its exit code and its message.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: ExitStatus,
    message: Option<String>,
}

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()) }
    }

    /// A busy lock, with the exit code that the caller chose.
    pub(crate) fn with_code(code: u8, message: String) -> Self {
        Self { status: ExitStatus(code), message: Some(message) }
    }

    /// A failed system call of lockctl itself. The message names the action. The exit code is `otherwise`, unless a limit was reached.
    pub(crate) fn of_call(action: &str, error: impl Into<io::Error>, otherwise: ExitStatus) -> Self {
        let error = error.into();
        let status = ExitStatus::of_call(&error, otherwise);
        let text = error.to_string();
        let reason = match Error::system("", error).into_details() {
            ErrorDetails::Limit { limit, .. } => limit,
            _ => text,
        };
        Self::new(status, format!("{action}: {reason}"))
    }

    /// An error of the library. A busy lock exits with `conflict`.
    pub(crate) fn with_conflict(error: &Error, conflict: u8) -> Self {
        Self::new(ExitStatus::of(error, conflict), error.to_string())
    }

    /// Appends advice to the message.
    pub(crate) fn with_advice(mut self, advice: &str) -> Self {
        if let Some(message) = &mut self.message {
            message.push_str(advice);
        }
        self
    }

    /// Replaces the message.
    pub(crate) fn with_message(mut self, message: String) -> Self {
        self.message = Some(message);
        self
    }

    /// Removes the message, so that only the exit code reports the failure.
    pub(crate) fn without_message(mut self) -> Self {
        self.message = None;
        self
    }

    /// Returns the message; empty if there is none.
    #[cfg(feature = "watch")]
    pub(crate) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Writes the message as one line to stderr.
    pub(crate) fn report(&self) {
        if let Some(message) = &self.message {
            output::message(message);
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::with_conflict(&error, 1)
    }
}

/// A failure to write the output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { status: ExitStatus::CLOSED_PIPE, message: None },
            _ => Self::new(ExitStatus::OUTPUT, format!("the output could not be written: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lock_any::{Deadlock, HeldBy};

    use super::*;

    fn system(errno: Errno) -> Error {
        Error::system("call", errno)
    }

    /// Errors with their exit codes.
    fn failures() -> Vec<(u8, Error)> {
        let kinds = vec![
            (9, Error::timed_out(Duration::ZERO, HeldBy::unknown("none is recorded"))),
            (64, Error::bad_url("text", "text")),
            (64, Error::bad_label("text", "text")),
            (65, Error::not_a_store("text")),
            (65, Error::corrupt("text")),
            (66, Error::absent()),
            (67, Error::out_of_range(1)),
            (67, Error::not_allocated()),
            (67, Error::already_allocated()),
            (67, Error::stale()),
            (69, Error::unsupported("text")),
            (69, Error::unreachable("text", "text")),
            (69, Error::lost()),
            (70, Error::already_held()),
            (70, Error::not_held()),
            (73, Error::exists()),
            (75, Error::exhausted(1, 1)),
            (75, Error::too_many_processes(1)),
            (75, Error::deadlock(Duration::ZERO, Deadlock::new(Vec::new()))),
            (75, Error::destroyed()),
            (75, Error::replaced()),
            (76, Error::other_version(1, 2, "/store")),
            (76, Error::other_abi("text", "text")),
            (76, Error::other_capacity("text", "text")),
            (77, Error::untrusted("text")),
            (77, Error::denied("text", "text")),
            (78, Error::unknown_scheme("text", "text")),
            (78, Error::duplicate_scheme("text", "a", "b")),
        ];
        let calls = [
            (71, Errno::EIO),
            (73, Errno::ENOENT),
            (73, Errno::ENOTDIR),
            (73, Errno::ENOSPC),
            (73, Errno::EDQUOT),
            (73, Errno::EFBIG),
            (75, Errno::EMFILE),
            (75, Errno::ENFILE),
            (75, Errno::ENOMEM),
            (75, Errno::EAGAIN),
            (75, Errno::ENOLCK),
            (77, Errno::EACCES),
            (77, Errno::EPERM),
            (77, Errno::EROFS),
        ];
        let calls = calls.map(|(code, errno)| (code, system(errno)));
        kinds.into_iter().chain(calls).collect()
    }

    #[test]
    fn each_kind_of_error_has_its_exit_code() {
        for (code, error) in failures() {
            assert_eq!(ExitStatus::of(&error, 9).code(), code, "{error}");
        }
    }

    #[test]
    fn a_limit_has_the_same_exit_code_in_every_call() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM] {
            for otherwise in [ExitStatus::SYSTEM, ExitStatus::UNAVAILABLE, ExitStatus::CANNOT_CREATE] {
                let failure = Failure::of_call("cannot do it", errno, otherwise);
                assert_eq!(failure.status, ExitStatus::of(&system(errno), 1), "{errno}");
                let message = failure.message.unwrap();
                assert!(message.starts_with("cannot do it: ") && message.contains("; "), "{message}");
            }
        }
        assert_eq!(Failure::of_call("cannot do it", Errno::ENOEXEC, ExitStatus::UNAVAILABLE).status, ExitStatus::UNAVAILABLE);
    }
}

//! The arguments of `run` and `fd`: the options of flock(1), and those of locks in a store.
//!
//! The options end at the first word that is not one, as those of flock(1) do. All further words belong to the command.

use std::env;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::Args;
use lock_any::Deadline;

use crate::exit::{ExitStatus, Failure};
use crate::target::Target;

/// The options of `run` and `fd`, with the meaning that flock(1) gives them. Of options that exclude each other, the last one
/// counts.
#[derive(Args, Debug)]
pub(crate) struct LockOptions {
    /// Exit immediately if the lock is busy
    #[arg(short, long, visible_alias = "nb", alias = "nonblocking", overrides_with = "nonblock")]
    nonblock: bool,
    /// Maximum time to wait, fractions allowed; 0 means -n
    #[arg(
        short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = Wait::parse, allow_hyphen_values = true,
        overrides_with = "wait"
    )]
    wait: Option<Wait>,
    /// Exit code if the lock is busy or the wait times out
    #[arg(
        short = 'E', long, value_name = "CODE", default_value = "1", value_parser = exit_code, allow_hyphen_values = true,
        overrides_with = "conflict_exit_code"
    )]
    pub(crate) conflict_exit_code: u8,
    /// Acquire an exclusive lock, which is the default
    #[arg(short = 'x', long, short_alias = 'e', overrides_with_all = ["exclusive", "shared", "unlock"])]
    exclusive: bool,
    /// Refused: shared locks are not supported
    #[arg(short, long, alias = "s", hide = true, overrides_with_all = ["exclusive", "shared", "unlock"])]
    shared: bool,
    /// Release the lock, or run the command without the lock of the path
    #[arg(short, long, overrides_with_all = ["exclusive", "shared", "unlock"])]
    unlock: bool,
    /// Print no line about a wait, a busy lock or a new store
    ///
    /// Without it, a wait of more than a second prints one line that names the owner. Errors and deaths are printed in any case.
    #[arg(short, long, overrides_with = "quiet")]
    pub(crate) quiet: bool,
    /// Print the time that the acquisition took, and the command
    #[arg(long, overrides_with = "verbose")]
    pub(crate) verbose: bool,
}

/// What to do with the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    /// Acquire it, waiting until this time.
    Acquire(Deadline),
    /// Release it.
    Release,
}

impl LockOptions {
    /// Checks the options, and returns the operation that they ask for. The time to wait begins now.
    pub(crate) fn operation(&self) -> Result<Operation, Failure> {
        if self.shared {
            let message =
                "shared locks (-s) are not supported yet; omit -s for an exclusive lock. The option for the store is --store";
            return Err(Failure::new(ExitStatus::UNAVAILABLE, message));
        }
        let deadline = match &self.wait {
            Some(Wait::OutOfRange(text)) => {
                let message = format!("the time to wait is {text:?}; give a number of seconds from 0 to 1e18");
                return Err(Failure::new(ExitStatus::SYSTEM, message));
            }
            _ if self.nonblock => Deadline::Now,
            Some(Wait::For(Duration::ZERO)) => Deadline::Now,
            Some(Wait::For(duration)) => Deadline::after(*duration),
            None => Deadline::Never,
        };
        Ok(if self.unlock { Operation::Release } else { Operation::Acquire(deadline) })
    }
}

/// A time to wait. A number that is no time is accepted here, because it has another exit status than a text that is no number.
#[derive(Clone, PartialEq, Debug)]
enum Wait {
    For(Duration),
    OutOfRange(String),
}

impl Wait {
    fn parse(text: &str) -> Result<Self, String> {
        let seconds: f64 = text.trim_start().parse().map_err(|_| "write a number of seconds, such as 10 or 0.5".to_owned())?;
        Ok(match Duration::try_from_secs_f64(seconds) {
            // The kernel's times are signed.
            Ok(duration) if i64::try_from(duration.as_secs()).is_ok() => Self::For(duration),
            _ => Self::OutOfRange(text.to_owned()),
        })
    }
}

fn exit_code(text: &str) -> Result<u8, String> {
    text.trim_start().parse().map_err(|_| "write a number from 0 to 255".to_owned())
}

#[derive(Args, Debug)]
#[command(override_usage = USAGE)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) options: LockOptions,
    /// Do not pass the lock to the command: accepted for flock(1), and always so without -F
    #[arg(short = 'o', long, overrides_with = "close")]
    close: bool,
    /// Execute the command in place of lockctl: it keeps the lock of the path, and so do its children
    #[arg(short = 'F', long, alias = "no-", overrides_with = "no_fork")]
    no_fork: bool,
    /// Command for the shell, $SHELL or else /bin/sh, instead of CMD; may also follow the lock
    #[arg(short, value_name = "STRING", allow_hyphen_values = true, overrides_with = "command_string")]
    command_string: Option<OsString>,
    /// Allocate a lock for this run, and free it afterwards
    #[arg(long, conflicts_with = "name")]
    new: bool,
    /// Label of the lock, with --new
    #[arg(long, requires = "new", default_value = "", hide_default_value = true)]
    label: String,
    /// Name of the lock, for a name that is a number or contains a slash
    #[arg(long)]
    name: Option<String>,
    /// Fail if the store is absent; do not create it
    #[arg(long)]
    pub(crate) no_create: bool,
    /// The lock, and the command with its arguments
    ///
    /// The lock is a path (./file, /run/lock/backup, or a directory), the number of a lock in the store, or a name.
    #[arg(trailing_var_arg = true, value_names = ["LOCK", "CMD"], value_hint = clap::ValueHint::AnyPath)]
    words: Vec<OsString>,
    /// True if `--` is in front of the words.
    #[arg(skip)]
    is_escaped: bool,
}

const USAGE: &str = "lockctl run [OPTIONS] LOCK [--] CMD [ARGS]...
       lockctl run [OPTIONS] LOCK -c STRING
       lockctl run [OPTIONS] --new [--] CMD [ARGS]...";

/// A lock and the command to run under it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) target: Target,
    pub(crate) command: Vec<OsString>,
    pub(crate) operation: Operation,
    /// Whether to execute the command in place of lockctl.
    pub(crate) in_place: bool,
}

impl RunArgs {
    /// Notes whether `--` is in front of the words, given the whole command line.
    pub(crate) fn note_escape(&mut self, arguments: &[OsString]) {
        let before = arguments.len().checked_sub(self.words.len() + 1);
        self.is_escaped = before.and_then(|at| arguments.get(at)).is_some_and(|argument| argument == "--");
    }

    /// Returns whether the lock may be omitted, in a store with a single lock.
    pub(crate) fn may_omit_lock(&self) -> bool {
        self.is_escaped && !self.new && self.name.is_none()
    }

    /// Separates the lock from the command, and checks both. `has_single_lock` says that the store has one lock without a number.
    pub(crate) fn request(&self, has_single_lock: bool) -> Result<Request, Failure> {
        let operation = self.options.operation()?;
        if self.no_fork && self.close {
            return Err(usage("--no-fork and --close exclude each other: no process would keep the lock"));
        }
        let (target, words) = self.target(has_single_lock)?;
        let command = self.command(&target, words)?;
        if self.no_fork && !matches!(target, Target::Path(_)) {
            return Err(usage(
                "--no-fork needs the path of a file or a directory: the lock of a store is released when its process executes another \
                 program",
            ));
        }
        Ok(Request { target, command, operation, in_place: self.no_fork })
    }

    fn target(&self, has_single_lock: bool) -> Result<(Target, &[OsString]), Failure> {
        let words = self.words.as_slice();
        if self.new || self.name.is_some() {
            let option = if self.new { "--new" } else { "--name" };
            if let [extra, dashes, ..] = words
                && dashes == "--"
                && !self.is_escaped
            {
                return Err(usage(format!("{option} selects the lock; omit {extra:?}")));
            }
            let target = self.name.clone().map_or_else(|| Target::New { label: self.label.clone() }, Target::Name);
            return Ok((target, words));
        }
        if has_single_lock && self.is_escaped {
            return Ok((Target::Single, words));
        }
        let Some((first, rest)) = words.split_first() else {
            return Err(usage("the lock is missing; give a path, the id or the name of a lock, or --new to allocate one"));
        };
        let target = Target::parse(first)?;
        match target {
            // More likely a command without a lock than a name.
            Target::Name(name) if self.is_escaped => Err(usage(format!(
                "the lock is missing in front of `--`; give a path, the id or the name of a lock, or --new to allocate one (for the lock \
                 with the name {name}, write {name} --)"
            ))),
            target => Ok((target, rest)),
        }
    }

    fn command(&self, target: &Target, words: &[OsString]) -> Result<Vec<OsString>, Failure> {
        if let Some(string) = &self.command_string {
            return if words.is_empty() { Ok(shell(string)) } else { Err(one_string("-c")) };
        }
        match words {
            [dashes, words @ ..] if dashes == "--" && !words.is_empty() => Ok(words.to_vec()),
            [option, words @ ..] if option == "-c" || option == "--command" => match words {
                [string] => Ok(shell(string)),
                _ => Err(one_string(&option.to_string_lossy())),
            },
            [] | [_] if words.first().is_none_or(|word| word == "--") => {
                let advice = match target {
                    Target::Id(id) => format!("; to lock the open descriptor {id} as `flock {id}` does, use `lockctl fd {id}`"),
                    _ => String::new(),
                };
                Err(usage(format!("the command is missing{advice}")))
            }
            words => Ok(words.to_vec()),
        }
    }
}

fn one_string(option: &str) -> Failure {
    usage(format!("{option} needs exactly one command string; quote it"))
}

/// Returns the command that passes a string to the shell.
fn shell(string: &OsStr) -> Vec<OsString> {
    let shell = env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into());
    vec![shell, "-c".into(), string.to_owned()]
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(ExitStatus::USAGE, message)
}

#[derive(Args, Debug)]
pub(crate) struct FdArgs {
    #[command(flatten)]
    pub(crate) options: LockOptions,
    /// Number of the open descriptor
    #[arg(value_name = "NUMBER")]
    pub(crate) descriptor: i32,
}

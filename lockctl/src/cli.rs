//! What the command line looks like.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use lock_any::LockId;

use crate::exit;

/// Run commands under locks that processes share, and see who holds what.
#[derive(Parser, Debug)]
#[command(name = "lockctl", version, after_long_help = exit::table(), max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which store.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The store, for example shm:my-engine or shm:/run/my-engine/locks [default: shm:lockctl-UID, UID being the caller's]
    #[arg(long, short, global = true, env = "LOCKCTL_STORE", value_name = "URL")]
    pub(crate) store: Option<String>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a command while holding a lock, and exit as it does
    ///
    /// The store is created if it is absent. Signals are forwarded to the command; if lockctl dies, the kernel kills the command
    /// with it. The command finds the variables LOCKCTL_ID and LOCKCTL_TOKEN (the fencing token) in its environment.
    ///
    /// If an earlier owner died holding the lock, a line on stderr says so, and the variable LOCKCTL_RECOVERED has the same text. Each
    /// further run is told, too, until a command ends with 0: what the lock protects then counts as in order again.
    Run(RunArgs),
    /// Allocate a lock and print its id
    ///
    /// The store is created if it is absent.
    Allocate(AllocateArgs),
    /// Give ids back
    ///
    /// A lock that is held stays held, and stays usable for those who have it open.
    Free(FreeArgs),
    /// Give every id back: dangerous while anybody uses one
    FreeAll(Sure),
    /// List the locks that are allocated or held
    List(ListArgs),
    /// Show facts about a store
    Info(Format),
    /// Show the backends of this program and what they can do
    Backends(Format),
    /// Make exactly these ids the allocated ones, as after a restart
    ///
    /// The store is created if it is absent. Without ids on the command line they are read from stdin, separated by white space.
    Reconcile(ReconcileArgs),
    /// Take a lock from its owner by force, where the backend does not recover by itself
    ///
    /// Dangerous while the owner lives: then two are inside.
    Break(BreakArgs),
    /// Create a store that does not exist yet
    Create,
    /// Remove a store
    Destroy(Sure),
    /// Watch every backend survive kill -9, in less than ten seconds
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
    #[command(hide = true)]
    DemoJanitor(DemoArgs),
    #[command(hide = true)]
    DemoWorker(WorkerArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Do not wait: exit at once if somebody holds the lock
    #[arg(short, long, visible_alias = "nb", conflicts_with = "wait")]
    pub(crate) nonblock: bool,
    /// Wait no longer than this, fractions allowed; 0 means -n
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,
    /// The exit code when the lock is busy or the time is up
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = 1)]
    pub(crate) conflict_exit_code: u8,
    /// Allocate a lock for this run, and free it at the end
    #[arg(long, conflicts_with = "id")]
    pub(crate) new: bool,
    /// What the lock is for, with --new
    #[arg(long, requires = "new", conflicts_with = "id", default_value = "", hide_default_value = true)]
    pub(crate) label: String,
    /// Fail if the store does not exist, instead of creating it
    #[arg(long)]
    pub(crate) no_create: bool,
    /// The lock; none in a store whose only lock has no number
    pub(crate) id: Option<LockId>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct AllocateArgs {
    /// What the lock is for
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) label: String,
    /// Fail if the store does not exist, instead of creating it
    #[arg(long)]
    pub(crate) no_create: bool,
    /// Allocate this very id
    pub(crate) id: Option<LockId>,
}

#[derive(Args, Debug)]
pub(crate) struct FreeArgs {
    /// The ids
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<LockId>,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only locks that are held at this moment
    #[arg(long)]
    pub(crate) held: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Format {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReconcileArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Fail if the store does not exist, instead of creating it
    #[arg(long)]
    pub(crate) no_create: bool,
    /// The ids
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<LockId>,
}

#[derive(Args, Debug)]
pub(crate) struct BreakArgs {
    #[command(flatten)]
    pub(crate) sure: Sure,
    /// The lock
    pub(crate) id: LockId,
}

#[derive(Args, Debug)]
pub(crate) struct Sure {
    /// Yes, do it
    #[arg(long = "yes", required = true)]
    _yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Where to put its files for the time being [default: /dev/shm, or else TMPDIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

/// How the demo starts its workers.
#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// The store
    pub(crate) url: String,
    /// The directory of the files
    pub(crate) files: PathBuf,
    /// Which worker, from 0
    pub(crate) slot: u64,
    /// When to stop, in nanoseconds of the monotonic clock
    pub(crate) until: u64,
    /// After how many milliseconds to wait inside a section for the kill
    #[arg(long)]
    pub(crate) life: Option<u64>,
    /// The lock, in a store whose locks have numbers
    #[arg(long)]
    pub(crate) id: Option<LockId>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, such as 10 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_a_fraction_and_are_not_negative() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for bad in ["-1", "nan", "inf", "1e30", "", "1s"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}

//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use lock_any::LockId;

use crate::exit;

/// Run commands under locks shared between processes, and list locks and their owners.
#[derive(Parser, Debug)]
#[command(name = "lockctl", version, after_long_help = exit::table(), max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) store_args: StoreArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The store to work on.
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    /// The store, for example shm:my-engine, shm:/run/my-engine/locks or shm:./locks [default: shm:lockctl-UID, UID being the
    /// caller's]
    ///
    /// A location with a slash is a path, and any other is a name. Write %25 for a % and %3F for a ? in it.
    #[arg(long, short, global = true, env = "LOCKCTL_STORE", value_name = "URL")]
    pub(crate) store: Option<String>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a command under a lock, and exit as it does
    ///
    /// Creates the store if it is absent. Forwards signals to the command. If lockctl dies, the kernel kills the command. The
    /// environment of the command has the variables LOCKCTL_ID and LOCKCTL_TOKEN (the fencing token).
    ///
    /// If an earlier owner died holding the lock, a line on stderr reports it, and the variable LOCKCTL_RECOVERED has the same text.
    /// Each further run reports it, too, until a command exits with 0. This marks the protected data as consistent.
    Run(RunArgs),
    /// Allocate a lock and print its id
    ///
    /// Creates the store if it is absent.
    Allocate(AllocateArgs),
    /// Free ids
    ///
    /// A held lock stays held, and existing handles stay usable.
    Free(FreeArgs),
    /// Free every id: dangerous while a program uses one
    FreeAll(Confirmation),
    /// List allocated and held locks
    List(ListArgs),
    /// Explain a hang: the holder of a lock and its present activity, the waiters, and deadlocks
    ///
    /// Without an id, explains every lock of the store that is contended or whose holder is dead or uncertain, and every deadlock. Acquires,
    /// delays and changes no lock. The processes that wait are named where the backend finds them (lxc, podman); this may need root.
    ///
    /// For a store of podman, the containers, pods and volumes with a lock are named too, if the podman command prints their lock numbers.
    /// It runs for at most 5 seconds, and locks its objects as it always does.
    Why(WhyArgs),
    /// Show the held and contended locks of a store live, with those in trouble first
    ///
    /// Trouble is a deadlock, a dead holder, a waiter whose wake-up was lost, a stopped holder for which others wait, a holder that is not
    /// certain, a long wait and a long hold. On a terminal it fills the screen; press ? for the keys. Elsewhere, and with --plain or --json, it
    /// prints a line when a trouble begins, changes or ends. Acquires, delays and changes no lock.
    #[cfg(feature = "watch")]
    Watch(WatchArgs),
    /// Show the properties of a store
    ///
    /// Warns when 90 % of the ids are allocated.
    Info(Format),
    /// List the linked backends and their capabilities
    Backends(Format),
    /// Allocate exactly these ids and free all others, for example after a restart
    ///
    /// Creates the store if it is absent. Without ids on the command line, reads them from stdin, separated by white space.
    Reconcile(ReconcileArgs),
    /// Take a lock from its owner by force, on a backend without recovery
    ///
    /// Dangerous while the owner lives: the lock then has two owners.
    Break(BreakArgs),
    /// Create a store
    Create,
    /// Prepare a server for stores, with the rights that this needs
    Migrate,
    /// Remove a store
    Destroy(Confirmation),
    /// Show that every backend survives kill -9, in less than ten seconds
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
    #[command(hide = true)]
    DemoCleanup(DemoArgs),
    #[command(hide = true)]
    DemoWorker(WorkerArgs),
}

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Exit immediately if the lock is busy
    #[arg(short, long, visible_alias = "nb", conflicts_with = "wait")]
    pub(crate) nonblock: bool,
    /// Maximum time to wait, fractions allowed; 0 means -n
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,
    /// Exit code if the lock is busy or the wait times out
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = 1)]
    pub(crate) conflict_exit_code: u8,
    /// Allocate a lock for this run, and free it afterwards
    #[arg(long, conflicts_with = "id")]
    pub(crate) new: bool,
    /// Label of the lock, with --new
    #[arg(long, requires = "new", conflicts_with = "id", default_value = "", hide_default_value = true)]
    pub(crate) label: String,
    /// Name of the lock, which is allocated under the name on first use
    #[arg(long, conflicts_with_all = ["id", "new"])]
    pub(crate) name: Option<String>,
    /// Fail if the store is absent; do not create it
    #[arg(long)]
    pub(crate) no_create: bool,
    /// Id of the lock; omit it for a store with a single lock
    pub(crate) id: Option<LockId>,
    /// Command and arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct AllocateArgs {
    /// Label of the lock
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) label: String,
    /// Fail if the store is absent; do not create it
    #[arg(long)]
    pub(crate) no_create: bool,
    /// Id to allocate [default: a free one]
    pub(crate) id: Option<LockId>,
}

#[derive(Args, Debug)]
pub(crate) struct FreeArgs {
    /// Ids to free
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<LockId>,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// List only held locks
    #[arg(long)]
    pub(crate) held: bool,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) format: Format,
    /// Id of the lock [default: the whole store]
    pub(crate) id: Option<LockId>,
}

/// The arguments of the live view.
#[cfg(feature = "watch")]
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// Time between two readings of the store, fractions allowed, at least 0.1
    #[arg(short = 'n', long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Time from which a hold is in trouble
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) hold: Duration,
    /// Time from which a wait is in trouble
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) wait: Duration,
    /// Print lines also on a terminal
    #[arg(long)]
    pub(crate) plain: bool,
    /// Print each line as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
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
    /// Fail if the store is absent; do not create it
    #[arg(long)]
    pub(crate) no_create: bool,
    /// Ids to allocate
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<LockId>,
}

#[derive(Args, Debug)]
pub(crate) struct BreakArgs {
    #[command(flatten)]
    pub(crate) confirmation: Confirmation,
    /// Id of the lock
    pub(crate) id: LockId,
}

#[derive(Args, Debug)]
pub(crate) struct Confirmation {
    /// Confirm the operation
    #[arg(long = "yes", required = true)]
    _yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// Shell to write the script for
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Directory for temporary files [default: /dev/shm, or TMPDIR if that fails]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

/// The arguments of a worker of the demo.
#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// URL of the store
    pub(crate) url: String,
    /// Directory of the counter and the log
    pub(crate) files: PathBuf,
    /// Number of the worker, from 0
    pub(crate) slot: u64,
    /// End time, in nanoseconds of the monotonic clock
    pub(crate) until: u64,
    /// Id of the lock
    pub(crate) id: LockId,
    /// Milliseconds until the worker stops in a section and waits for the kill
    #[arg(long)]
    pub(crate) life: Option<u64>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds, such as 10 or 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(feature = "watch")]
fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    match seconds(text)? {
        interval if interval < LEAST => Err("the interval is at least 0.1".to_owned()),
        interval => Ok(interval),
    }
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

    #[test]
    #[cfg(feature = "watch")]
    fn an_interval_is_at_least_a_tenth_of_a_second() {
        assert_eq!(interval("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(interval("60"), Ok(Duration::from_secs(60)));
        for bad in ["0", "0.09", "-1", "nan", "often"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}

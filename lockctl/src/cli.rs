//! The command line.

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use lock_any::LockId;

use crate::capacity::Capacity;
use crate::exit;
use crate::run::{FdArgs, RunArgs};
#[cfg(feature = "watch")]
use crate::watch::WatchArgs;

/// Run commands under locks shared between processes, and list locks and their owners.
#[derive(Parser, Debug)]
#[command(name = "lockctl", version, propagate_version = true, infer_long_args = true, max_term_width = 110)]
pub(crate) struct Cli<C: Subcommand = Command> {
    #[command(flatten)]
    pub(crate) store_args: StoreArgs,
    #[command(subcommand)]
    pub(crate) command: C,
}

impl Cli {
    /// Returns the definition of the command line.
    pub(crate) fn definition() -> clap::Command {
        Self::command().after_long_help(exit::table())
    }

    /// Reads the command line: the name of the program and its arguments.
    pub(crate) fn read(arguments: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut cli = match Cli::<RunAlone>::read_alone(&arguments) {
            Some(cli) => cli,
            None => {
                let mut definition = Self::definition();
                let mut matches = definition.try_get_matches_from_mut(&arguments)?;
                Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut definition))?
            }
        };
        if let Command::Run(args) = &mut cli.command {
            args.note_escape(&arguments);
        }
        Ok(cli)
    }
}

/// The command `run` without the others. To build all of them takes longer than to acquire a lock and to start the command.
#[derive(Subcommand, Debug)]
enum RunAlone {
    Run(RunArgs),
}

impl Cli<RunAlone> {
    /// Reads a command line with `run`. Returns `None` if it is another one, has an error or asks for help: the definition with all
    /// commands then decides. It accepts each line that is accepted here, with the same result.
    fn read_alone(arguments: &[OsString]) -> Option<Cli> {
        if !arguments.iter().any(|argument| argument == "run") {
            return None;
        }
        // It is not dropped, because the process ends soon.
        let mut definition = ManuallyDrop::new(Self::command());
        let mut matches = definition.try_get_matches_from_mut(arguments).ok()?;
        let Self { store_args, command: RunAlone::Run(args) } = Self::from_arg_matches_mut(&mut matches).ok()?;
        Some(Cli { store_args, command: Command::Run(args) })
    }
}

/// The store to work on.
#[derive(Args, Debug)]
pub(crate) struct StoreArgs {
    /// The store, for example shm:my-engine, shm:/run/my-engine/locks or shm:./locks [default: a store of the user]
    ///
    /// An empty variable counts as unset. The default store is in the first directory that applies: for root, /run/lockctl; for another
    /// user, /dev/shm/lockctl-UID if it exists, $XDG_RUNTIME_DIR/lockctl if the variable names a directory of the user,
    /// /run/user/UID/lockctl if /run/user/UID exists, or else /dev/shm/lockctl-UID. UID is the one outside of a user namespace. A directory
    /// that belongs to another user is refused. The system may remove these directories when the user has logged out: give another store for
    /// a command that outlives the session.
    ///
    /// A location with a slash is a path, and any other is a name. Write %25 for a % and %3F for a ? in it. Repeat the option to examine
    /// several stores with `why` and `graph`.
    #[arg(long = "store", global = true, env = "LOCKCTL_STORE", value_name = "URL")]
    pub(crate) stores: Vec<String>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run a command under a lock, and exit as it does
    ///
    /// The options are those of flock(1), and end at the first word that is not an option. This word is the lock:
    ///
    /// - A word with a slash, `.` or `..` is the path of a file or a directory. It is locked as flock(1) does, and an absent file
    ///   is created. No store is used. The lock also excludes `flock --fcntl`.
    ///
    /// - A number is the id of a lock in the store. It is allocated on first use, with the label "used by lockctl run", and stays
    ///   allocated. An id of podman is not: podman allocates it.
    ///
    /// - Any other word is the name of a lock in the store. It is allocated on first use, and stays allocated. All runs with this
    ///   name use this lock.
    ///
    /// Creates the store if it is absent. If lockctl dies, the kernel kills the command. The environment of the command has the
    /// variables LOCKCTL_ID and LOCKCTL_TOKEN (the fencing token), except under the lock of a path.
    ///
    /// Forwards all signals to the command, also real-time signals. A signal to the whole process group (from a terminal, or kill -TERM
    /// -PGID) reaches the command by itself and is not forwarded. For signals of programs this is known from 5 ms after the start of
    /// the command, by a child process with the name group-witness; it needs no file and ends with the command. Signals that a program
    /// sends to each process one by one, as systemd does at the stop of a service, may reach the command twice; systemd sends one with
    /// KillMode=mixed. Signals that were ignored or blocked when lockctl was started are so in the command.
    ///
    /// If a signal kills the command, lockctl dies of the same signal, without a core file, so that a shell ends its loop at Ctrl-C. As the
    /// first process of a PID namespace it exits with 128 plus the number. When the command has ended, an error in releasing the
    /// lock is a message and does not change the exit code, except that lockctl exits with 69 if it had to end the command because the lock was
    /// lost.
    ///
    /// If an earlier owner died holding the lock of a store, a line on stderr reports it, and the variable LOCKCTL_RECOVERED has
    /// the same text. Each further run reports it, too, until a command exits with 0. This marks the protected data as
    /// consistent.
    ///
    /// The section FLOCK(1) of `lockctl man` lists the differences from flock(1).
    Run(RunArgs),
    /// Lock the open file of a descriptor that a shell script shares with lockctl
    ///
    /// `exec 9>FILE; lockctl fd 9` locks the file as `flock 9` does, until the descriptor is closed or `lockctl fd -u 9`. It
    /// excludes `lockctl run FILE` and flock(1). The store is not used.
    Fd(FdArgs),
    /// Allocate a lock and print its id
    ///
    /// Creates the store if it is absent.
    Allocate(AllocateArgs),
    /// Free ids
    ///
    /// A held lock stays held, and existing handles stay usable. A word of digits is an id, and any other is a name.
    Free(FreeArgs),
    /// Free every id: dangerous while a program uses one
    FreeAll(Confirmation),
    /// Free the temporary ids of dead processes, and print them
    ///
    /// Such an id was allocated for one run: by `lockctl run --new`, or by a program for as long as it lives. It stays allocated when its
    /// process is killed. An id is freed only if the death is proven and its lock is not held. `run --new` does the same when all ids are
    /// allocated.
    Reclaim(Format),
    /// List allocated and held locks, with their holders, waiters and allocating processes
    ///
    /// STATE is free, held, "dead holder" (the next owner takes the lock over), inconsistent (free, but a death is not dealt with), doubt (the
    /// holder is not certain) or ?. HELD FOR is a lower bound. WAITERS is the number of waiting threads and the longest wait. ALIVE says
    /// whether the process that allocated the lock lives; ? means that this cannot be seen from here.
    ///
    /// The table is cut to the width of the terminal (COLUMNS). It is written while it is read, so that a million locks need little memory;
    /// its columns are as wide as in the first 1024 rows. With --json, each lock is a line of one JSON document.
    List(ListArgs),
    /// Explain a hang: the holder of a lock and its present activity, the waiters, and deadlocks
    ///
    /// Without a lock, explains every lock of the store or the stores that is contended or whose holder is dead or uncertain, and every deadlock. Acquires,
    /// delays and changes no lock. The processes that wait are named where the backend finds them (lxc, podman); this may need root.
    ///
    /// For a store of podman, the containers, pods and volumes with a lock are named too, if the podman command prints their lock
    /// numbers. It runs for at most 5 seconds, and locks its objects as it always does.
    Why(WhyArgs),
    /// Show the threads that wait, their locks and the holders, of one or several stores, and every deadlock
    ///
    /// A deadlock is shown only if two readings show it, 50 ms apart. A holder that is an ancestor process of a waiting thread is one, too, if
    /// it waits until its descendant ends. Exits with 0 whether there is a deadlock or not. Acquires, delays and changes no lock.
    Graph(GraphArgs),
    /// Find the faults of a store and of the system, and say what to do
    ///
    /// Checks that the store can be used and that no process uses an earlier one; deaths that are not dealt with; allocations without a label
    /// by processes that have ended; the free ids, processes, space, limits and semaphore sets; and whether /proc shows processes.
    ///
    /// Exits with 0 if nothing is wrong, with 1 if there are only warnings, and with 2 if there are problems: programs fail, hang or do not
    /// exclude each other.
    Doctor(Format),
    /// Print figures of a store in the text format of Prometheus
    ///
    /// They are the capacity, the numbers of allocated ids, held locks, waiting threads and deaths that are not dealt with, the longest hold (a
    /// lower bound) and the longest wait. A figure that the backend does not know is absent.
    Metrics,
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
    /// Raise the maximum number of locks of a store, also while programs use it
    ///
    /// Locks stay held, and ids stay allocated with their labels and names. All programs that have the store open can use the new ids. A
    /// store cannot become smaller.
    Grow(GrowArgs),
    /// Prepare a server for stores, with the rights that this needs
    Migrate,
    /// Remove a store, unless a live process holds one of its locks
    Destroy(DestroyArgs),
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
    /// Locks to free, by id or by name
    #[arg(required = true, value_name = "LOCK")]
    pub(crate) locks: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// List only held locks
    #[arg(long)]
    pub(crate) held: bool,
    /// Do not cut the table to the width of the terminal
    #[arg(long)]
    pub(crate) wide: bool,
    #[command(flatten)]
    pub(crate) format: Format,
    /// Locks to list, by id or by name [default: all]
    #[arg(value_name = "LOCK")]
    pub(crate) locks: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) format: Format,
    /// Lock to explain, by id or by name [default: the whole store]
    pub(crate) lock: Option<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) format: Format,
    /// Print the graph in the language of Graphviz: `lockctl graph --dot | dot -Tsvg`
    #[arg(long, conflicts_with = "json")]
    pub(crate) dot: bool,
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
pub(crate) struct GrowArgs {
    /// New maximum number of locks, or `unbounded`
    pub(crate) capacity: Capacity,
}

#[derive(Args, Debug)]
pub(crate) struct DestroyArgs {
    #[command(flatten)]
    pub(crate) confirmation: Confirmation,
    /// Remove the store even if live processes hold its locks
    ///
    /// They keep them, but a program that opens the store again gets another one, whose locks do not exclude them.
    #[arg(long)]
    pub(crate) force: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::definition().debug_assert();
        Cli::<RunAlone>::command().debug_assert();
    }

    /// Reads a line with the definition of all commands.
    fn read_with_all(line: &[OsString]) -> Result<Cli, String> {
        let matches = Cli::definition().try_get_matches_from(line);
        let cli = matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches));
        cli.map_err(|error| error.to_string())
    }

    #[test]
    fn run_is_read_as_by_the_definition_of_all_commands() {
        const BEFORE: [&[&str]; 7] =
            [&[], &["--store", "shm:x"], &["--sto=shm:x"], &["--store", "run"], &["help"], &["--version"], &["list"]];
        const AFTER: [&str; 30] = [
            "3",
            "x",
            "/x",
            "run",
            "list",
            "--",
            "true",
            "--help",
            "-h",
            "--ver",
            "-V",
            "--verb",
            "--version",
            "-n",
            "-w",
            "2",
            "-nw2",
            "--w=x",
            "-E",
            "-xc",
            "-c",
            "--new",
            "--name",
            "--name=7",
            "--label=x",
            "--no",
            "--no-f",
            "--no-create",
            "--store",
            "--sto=shm:y",
        ];
        let mut after: Vec<Vec<&str>> = vec![vec![]];
        after.extend(AFTER.iter().map(|word| vec![*word]));
        after.extend(AFTER.iter().flat_map(|first| AFTER.iter().map(|second| vec![*first, *second])));
        let mut accepted = 0;
        for (before, after) in BEFORE.iter().flat_map(|before| after.iter().map(move |after| (before, after))) {
            let words = ["lockctl"].iter().chain(*before).chain(&["run"]).chain(after);
            let line: Vec<OsString> = words.map(OsString::from).collect();
            let Some(alone) = Cli::<RunAlone>::read_alone(&line) else { continue };
            accepted += 1;
            let all = read_with_all(&line)
                .unwrap_or_else(|error| panic!("{line:?} is accepted without the other commands, but {error}"));
            assert_eq!(format!("{alone:?}"), format!("{all:?}"), "{line:?}");
        }
        assert!(accepted > 500, "only {accepted} lines are accepted");
    }
}

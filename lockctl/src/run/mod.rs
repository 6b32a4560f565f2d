//! `run`: a command under a lock, and `fd`: a lock for a shell script.
//!
//! lockctl holds the lock and stays the command's parent. It forwards its signals to the command. If lockctl dies, the kernel
//! kills the command.

mod acquire;
mod args;
mod child;
mod descriptor;
mod environment;
mod path;
mod session;
mod signals;
mod temporary;
mod verbose;

use std::process::{ExitCode, ExitStatus};

use lock_any::{Deadline, Death, ErrorKind, Guard, Labels, Lock, Numbering, Removal, Store, StoreUrl, WaitOptions};

use crate::cli::StoreArgs;
use crate::exit::{self, Failure};
use crate::output;
use crate::target::Target;

use args::{Operation, Request};
use session::Ending;
use signals::Signals;
use verbose::Verbose;

pub(crate) use args::{FdArgs, RunArgs};
pub(crate) use descriptor::lock as lock_descriptor;

pub(crate) fn run(store_args: &StoreArgs, args: &RunArgs) -> Result<ExitCode, Failure> {
    let request = args.request(args.may_omit_lock() && has_single_lock(store_args)?)?;
    let ended = match (&request.target, request.operation) {
        (Target::Path(path), _) => path::run(path, args, &request),
        (_, Operation::Acquire(deadline)) => run_in_store(store_args, args, &request, deadline),
        (_, Operation::Release) => {
            let message = "--unlock needs a path: a command under the lock of a store cannot run without it";
            Err(Failure::new(exit::ExitStatus::USAGE, message))
        }
    };
    // The store is closed before the process ends by a signal.
    Ok(match ended? {
        Ended::Command(status) => child::end_as(status),
        Ended::Wait(signal) => child::end_by(signal),
    })
}

/// Returns whether the store has one lock without a number. The store need not exist. The default store has numbers.
fn has_single_lock(store_args: &StoreArgs) -> Result<bool, Failure> {
    let Some(url) = store_args.given() else { return Ok(false) };
    let url: StoreUrl = url.parse()?;
    let registry = lock_any::registry()?;
    Ok(registry.find(url.scheme())?.capabilities().numbering == Numbering::Single)
}

/// How a run has ended.
enum Ended {
    /// The command has run.
    Command(ExitStatus),
    /// This signal ended the wait for the lock.
    Wait(i32),
}

fn run_in_store(store_args: &StoreArgs, args: &RunArgs, request: &Request, deadline: Deadline) -> Result<Ended, Failure> {
    let verbose = Verbose::start(args.options.verbose);
    // Before an id is allocated, so that a signal frees it.
    let signals = Signals::prepare(matches!(request.target, Target::New { .. }))?;
    let store = open_store(store_args, args)?;
    let acquired = match &request.target {
        Target::New { label } => allocate(&store, label),
        target => acquire_in_current_store(store_args, args, target, deadline, store),
    };
    let ours = match (&request.target, &acquired) {
        (Target::New { .. }, Ok(guard)) => Some(guard.lock().clone()),
        _ => None,
    };
    let _ours = ours.as_ref().map(|lock| Allocated { lock });
    signals.block()?;
    if let Some(signal) = signals.caught() {
        return Ok(Ended::Wait(signal));
    }
    let mut guard = acquired?;
    verbose.acquired(&request.target, &request.command)?;
    let is_new = ours.is_some();
    if is_new {
        // The death of an owner before the id was allocated is of no concern to this run.
        guard.mark_consistent()?;
    }
    let recovered = guard.recovered().filter(|_| !is_new).map(|death| describe(death, guard.lock()));
    if let Some(recovered) = &recovered {
        output::message(format_args!("{recovered}"));
    }
    session::prepare(&guard);
    let variables = environment::variables(&guard, recovered.as_deref());
    let (status, ending) = child::run(&request.command, &variables, Some(&guard), &signals)?;
    let marked = if status.success() { guard.mark_consistent() } else { Ok(()) };
    let name = acquire::name(guard.lock());
    match marked.and(guard.unlock()) {
        Err(error) if ending == Ending::LockLost => return Err(error.into()),
        // The command has run: its exit code counts.
        Err(error) => {
            output::message(format_args!("the command has ended, but {name} could not be released: {error}"));
        }
        Ok(()) => {}
    }
    Ok(Ended::Command(status))
}

/// Acquires the lock. If the store was removed or replaced during the wait, later commands use another store. Then the lock is
/// acquired in that store.
fn acquire_in_current_store(
    store_args: &StoreArgs,
    args: &RunArgs,
    target: &Target,
    deadline: Deadline,
    mut store: Store,
) -> Result<Guard<'static>, Failure> {
    let mut lock = select_lock(&store, target)?;
    loop {
        let acquired = acquire::acquire(&store, &lock, &args.options, deadline);
        let checked = acquired.and_then(|guard| store.check().map(|()| guard));
        match checked {
            Ok(guard) if !matches!(target, Target::Name(_)) => return Ok(guard),
            Ok(guard) => {
                // During the wait, the id may have been freed, and the name allocated again.
                let named = select_lock(&store, target)?;
                if (named.id(), named.generation()) == (lock.id(), lock.generation()) {
                    return Ok(guard);
                }
                lock = named;
                continue;
            }
            Err(error) if error.needs_reopen() => {}
            Err(error) => return Err(acquire::failure(&error, &lock, &args.options, deadline)),
        }
        store = open_store(store_args, args)?;
        lock = select_lock(&store, target)?;
    }
}

fn open_store(store_args: &StoreArgs, args: &RunArgs) -> Result<Store, Failure> {
    match args.options.quiet {
        true => store_args.open_or_create_quietly(args.no_create),
        false => store_args.open_or_create(args.no_create),
    }
}

/// Describes the death of an earlier owner.
fn describe(death: &Death, lock: &Lock) -> String {
    let owner = death.holder.as_ref().map_or_else(|| "an owner that is not recorded".to_owned(), ToString::to_string);
    format!("{owner} {} holding {}", death.cause, acquire::name(lock))
}

/// The label of an id that is allocated because a run uses it.
const USED: &str = "used by lockctl run";

fn select_lock(store: &Store, target: &Target) -> Result<Lock, Failure> {
    let capabilities = store.capabilities();
    Ok(match target {
        Target::Id(id) if is_numbered_by_users(store) => {
            store.get_or_allocate(*id, if capabilities.labels == Labels::Kept { USED } else { "" })?
        }
        Target::Id(id) => store.retrieve(*id)?,
        Target::Name(name) => store.named(name.as_str())?,
        _ => store.single()?,
    })
}

/// Returns whether the ids belong to the users of this store. A store that cannot be destroyed is one of another project, such as
/// podman, whose database says which ids are in use. An id that is used there by its number is not allocated.
fn is_numbered_by_users(store: &Store) -> bool {
    let capabilities = store.capabilities();
    capabilities.numbering == Numbering::Numbered && capabilities.removal == Removal::Supported
}

/// Allocates a lock and acquires it. An id whose lock is held is passed over: a program uses it by its number, without an
/// allocation.
fn allocate(store: &Store, label: &str) -> Result<Guard<'static>, Failure> {
    if store.capabilities().numbering == Numbering::Single {
        let message = "this store has only one lock, which is always allocated; omit --new";
        return Err(Failure::new(exit::ExitStatus::USAGE, message));
    }
    let mut held = Vec::new();
    let result = loop {
        let lock = match temporary::allocate(store, label) {
            Ok(lock) => lock,
            Err(error) => break Err(error),
        };
        match lock.lock_owned_with(WaitOptions::new().deadline(Deadline::Now)) {
            Err(error) if error.kind() == ErrorKind::TimedOut => held.push(lock),
            result => {
                if result.is_err() {
                    held.push(lock);
                }
                break result;
            }
        }
    };
    held.iter().for_each(free_allocated);
    let guard = result?;
    if let Err(error) = store.check() {
        // The store was replaced, and later commands do not use the lock.
        free_allocated(guard.lock());
        return Err(error.into());
    }
    Ok(guard)
}

/// An id that --new allocated. It is freed when the run ends.
struct Allocated<'a> {
    lock: &'a Lock,
}

impl Drop for Allocated<'_> {
    fn drop(&mut self) {
        free_allocated(self.lock);
    }
}

fn free_allocated(lock: &Lock) {
    // An error is ignored: the command may have freed the id, and another program may have allocated it since.
    let _ = lock.free();
}

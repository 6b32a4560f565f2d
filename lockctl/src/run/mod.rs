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

use std::process::ExitCode;

use lock_any::{Deadline, Death, ErrorKind, Guard, Labels, Lock, Numbering, Removal, Store, StoreUrl, WaitOptions};

use crate::cli::StoreArgs;
use crate::exit::{ExitStatus, Failure};
use crate::output;
use crate::target::Target;

use args::{Operation, Request};
use signals::Signals;
use verbose::Verbose;

pub(crate) use args::{FdArgs, RunArgs};
pub(crate) use descriptor::lock as lock_descriptor;

pub(crate) fn run(store_args: &StoreArgs, args: &RunArgs) -> Result<ExitCode, Failure> {
    let request = args.request(args.may_omit_lock() && has_single_lock(store_args)?)?;
    match (&request.target, request.operation) {
        (Target::Path(path), _) => path::run(path, args, &request),
        (_, Operation::Acquire(deadline)) => run_in_store(store_args, args, &request, deadline),
        (_, Operation::Release) => Err(Failure::new(ExitStatus::USAGE, "--unlock needs a path")),
    }
}

/// Returns whether the store has one lock without a number. The store need not exist.
fn has_single_lock(store_args: &StoreArgs) -> Result<bool, Failure> {
    let url: StoreUrl = store_args.url().parse()?;
    let registry = lock_any::registry()?;
    Ok(registry.find(url.scheme())?.capabilities().numbering == Numbering::Single)
}

fn run_in_store(store_args: &StoreArgs, args: &RunArgs, request: &Request, deadline: Deadline) -> Result<ExitCode, Failure> {
    let verbose = Verbose::start(args.options.verbose);
    let store = store_args.open_or_create(args.no_create)?;
    // Before an id is allocated, so a signal during the wait can free the id.
    let signals = Signals::take()?;
    let (lock, acquired) = match &request.target {
        Target::New { label } => {
            let guard = allocate(&store, label)?;
            (guard.lock().clone(), Some(guard))
        }
        target => (select_lock(&store, target)?, None),
    };
    let is_new = acquired.is_some();
    let _ours = is_new.then(|| Allocated { lock: &lock });
    let free = is_new.then(|| lock.clone());
    signals.watch(move || {
        if let Some(lock) = &free {
            free_allocated(lock);
        }
    })?;

    let mut guard = match acquired {
        Some(guard) => guard,
        None => acquire_in_current_store(store_args, args, &request.target, deadline, store, lock.clone())?,
    };
    verbose.acquired(&request.target, &request.command)?;
    if is_new {
        // The death of an owner before the id was allocated is of no concern to this run.
        guard.mark_consistent()?;
    }
    let recovered = guard.recovered().filter(|_| !is_new).map(|death| describe(death, &lock));
    if let Some(recovered) = &recovered {
        output::message(format_args!("{recovered}"));
    }
    session::prepare(&guard);
    let variables = environment::variables(&guard, recovered.as_deref());
    let status = child::run(&request.command, &variables, Some(&guard), &signals)?;
    if status.success() {
        guard.mark_consistent()?;
    }
    guard.unlock()?;
    Ok(child::exit_code(status))
}

/// Acquires the lock. If the store was removed or replaced during the wait, later commands use another store. Then the lock is
/// acquired in that store.
fn acquire_in_current_store(
    store_args: &StoreArgs,
    args: &RunArgs,
    target: &Target,
    deadline: Deadline,
    mut store: Store,
    mut lock: Lock,
) -> Result<Guard<'static>, Failure> {
    loop {
        let guard = acquire::acquire(&store, &lock, args.options.conflict_exit_code, deadline)?;
        match store.check() {
            Ok(()) if !matches!(target, Target::Name(_)) => return Ok(guard),
            Ok(()) => {
                // During the wait, the id may have been freed, and the name allocated again.
                let named = select_lock(&store, target)?;
                if (named.id(), named.generation()) == (lock.id(), lock.generation()) {
                    return Ok(guard);
                }
                lock = named;
                continue;
            }
            Err(error) if error.needs_reopen() => drop(guard),
            Err(error) => return Err(error.into()),
        }
        store = store_args.open_or_create(args.no_create)?;
        lock = select_lock(&store, target)?;
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
        return Err(Failure::new(ExitStatus::USAGE, message));
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

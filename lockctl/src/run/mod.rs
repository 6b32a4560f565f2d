//! `run`: a command under a lock.
//!
//! lockctl holds the lock and stays the command's parent. It forwards its signals to the command. If lockctl dies, the kernel
//! kills the command.

mod acquire;
mod child;
mod environment;
mod session;
mod signals;
mod temporary;

use std::process::ExitCode;

use lock_any::{Death, Guard, Lock, Numbering, Store};

use crate::cli::{RunArgs, StoreArgs};
use crate::exit::{ExitStatus, Failure};
use crate::output;

use signals::Signals;

pub(crate) fn run(store_args: &StoreArgs, args: &RunArgs) -> Result<ExitCode, Failure> {
    let store = store_args.open_or_create(args.no_create)?;
    // Before an id is allocated, so a signal during the wait can free the id.
    let signals = Signals::take()?;
    let lock = select_lock(&store, args)?;
    let _ours = args.new.then(|| Allocated { lock: &lock });
    let free = args.new.then(|| lock.clone());
    signals.watch(move || {
        if let Some(lock) = &free {
            free_allocated(lock);
        }
    })?;

    let mut guard = acquire_in_current_store(store_args, args, store, lock.clone())?;
    if args.new {
        // The death of an owner before the id was allocated is of no concern to this run.
        guard.mark_consistent()?;
    }
    let recovered = guard.recovered().filter(|_| !args.new).map(|death| describe(death, &lock));
    if let Some(recovered) = &recovered {
        output::message(format_args!("{recovered}"));
    }
    session::prepare(&guard);
    let status = child::run(&args.command, &environment::variables(&guard, recovered.as_deref()), &guard, &signals)?;
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
    mut store: Store,
    mut lock: Lock,
) -> Result<Guard<'static>, Failure> {
    let deadline = acquire::deadline(args);
    loop {
        let guard = acquire::acquire(&store, &lock, args, deadline)?;
        match store.check() {
            Ok(()) if args.name.is_none() => return Ok(guard),
            Ok(()) => {
                // During the wait, the id may have been freed, and the name allocated again.
                let named = select_lock(&store, args)?;
                if (named.id(), named.generation()) == (lock.id(), lock.generation()) {
                    return Ok(guard);
                }
                lock = named;
                continue;
            }
            // An id of --new belongs to the removed store, so this is an error with --new.
            Err(error) if !args.new && error.needs_reopen() => drop(guard),
            Err(error) => return Err(error.into()),
        }
        store = store_args.open_or_create(args.no_create)?;
        lock = select_lock(&store, args)?;
    }
}

/// Describes the death of an earlier owner.
fn describe(death: &Death, lock: &Lock) -> String {
    let owner = death.holder.as_ref().map_or_else(|| "an owner that is not recorded".to_owned(), ToString::to_string);
    format!("{owner} {} holding {}", death.cause, acquire::name(lock))
}

fn select_lock(store: &Store, args: &RunArgs) -> Result<Lock, Failure> {
    let usage = |message: &str| Failure::new(ExitStatus::USAGE, message);
    if let Some(name) = &args.name {
        return Ok(store.named(name)?);
    }
    match (store.capabilities().numbering, args.id, args.new) {
        (Numbering::Single, None, false) => Ok(store.single()?),
        (Numbering::Single, None, true) => Err(usage("this store has only one lock, which is always allocated; omit --new")),
        (_, Some(id), _) => Ok(store.retrieve(id)?),
        (_, None, true) => Ok(temporary::allocate(store, &args.label)?),
        (_, None, false) => Err(usage("the id is missing; give the id of a lock, --name and a name, or --new to allocate one")),
    }
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

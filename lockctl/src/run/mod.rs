//! `run`: a command under a lock.
//!
//! lockctl holds the lock and stays the command's parent. It forwards its signals to the command. If lockctl dies, the kernel
//! kills the command.

mod acquire;
mod ancestors;
mod child;
mod environment;
mod session;
mod signals;

use std::process::{ExitCode, ExitStatus};

use lock_any::{Death, Guard, Lock, Numbering, Store};

use crate::cli::{RunArgs, StoreArgs};
use crate::exit::{self, Failure};
use crate::output;

use session::Ending;
use signals::Signals;

pub(crate) fn run(store_args: &StoreArgs, args: &RunArgs) -> Result<ExitCode, Failure> {
    // The store is closed before the process ends by a signal.
    Ok(match run_under_lock(store_args, args)? {
        Ended::Command(status) => child::end_as(status),
        Ended::Wait(signal) => child::end_by(signal),
    })
}

/// How a run has ended.
enum Ended {
    /// The command has run.
    Command(ExitStatus),
    /// This signal ended the wait for the lock.
    Wait(i32),
}

fn run_under_lock(store_args: &StoreArgs, args: &RunArgs) -> Result<Ended, Failure> {
    // Before an id is allocated, so that a signal frees it.
    let signals = Signals::prepare(args.new)?;
    let store = open_store(store_args, args)?;
    let lock = select_lock(&store, args)?;
    let _ours = args.new.then(|| Allocated { lock: &lock });

    let acquired = acquire_in_current_store(store_args, args, store, lock.clone(), &signals);
    signals.block()?;
    if let Some(signal) = signals.caught() {
        return Ok(Ended::Wait(signal));
    }
    let mut guard = acquired?;
    let recovered = guard.recovered().map(|death| describe(death, guard.lock()));
    if let Some(recovered) = &recovered {
        output::message(format_args!("{recovered}"));
    }
    session::prepare(&guard);
    let variables = environment::variables(&guard, recovered.as_deref());
    let (status, ending) = child::run(&args.command, &variables, &guard, &signals)?;
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
    mut store: Store,
    mut lock: Lock,
    signals: &Signals,
) -> Result<Guard<'static>, Failure> {
    let deadline = acquire::deadline(args);
    loop {
        let acquired = acquire::acquire(&store, &lock, args, deadline, signals);
        let checked = acquired.and_then(|guard| store.check().map(|()| guard));
        match checked {
            Ok(guard) if args.name.is_none() => return Ok(guard),
            Ok(guard) => {
                // During the wait, the id may have been freed, and the name allocated again.
                let named = select_lock(&store, args)?;
                if (named.id(), named.generation()) == (lock.id(), lock.generation()) {
                    return Ok(guard);
                }
                lock = named;
                continue;
            }
            // An id of --new belongs to the removed store, so this is an error with --new.
            Err(error) if !args.new && error.needs_reopen() => {}
            Err(error) => return Err(acquire::failure(&error, &lock, args, deadline)),
        }
        store = open_store(store_args, args)?;
        lock = select_lock(&store, args)?;
    }
}

fn open_store(store_args: &StoreArgs, args: &RunArgs) -> Result<Store, Failure> {
    match args.quiet {
        true => store_args.open_or_create_quietly(args.no_create),
        false => store_args.open_or_create(args.no_create),
    }
}

/// Describes the death of an earlier owner.
fn describe(death: &Death, lock: &Lock) -> String {
    let owner = death.holder.as_ref().map_or_else(|| "an owner that is not recorded".to_owned(), ToString::to_string);
    format!("{owner} {} holding {}", death.cause, acquire::name(lock))
}

fn select_lock(store: &Store, args: &RunArgs) -> Result<Lock, Failure> {
    let usage = |message: &str| Failure::new(exit::ExitStatus::USAGE, message);
    if let Some(name) = &args.name {
        return Ok(store.named(name)?);
    }
    match (store.capabilities().numbering, args.id, args.new) {
        (Numbering::Single, None, false) => Ok(store.single()?),
        (Numbering::Single, None, true) => Err(usage("this store has only one lock, which is always allocated; omit --new")),
        (_, Some(id), _) => Ok(store.retrieve(id)?),
        (_, None, true) => Ok(store.allocate(args.label.as_str())?),
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

//! `run`: a command under a lock.
//!
//! lockctl holds the lock and stays the command's parent. Both are bound together: signals for lockctl go to the command, and if
//! lockctl dies, the kernel kills the command.

mod acquire;
mod child;
mod environment;
mod signals;

use std::process::ExitCode;

use lock_any::{Death, ErrorKind, Guard, Lock, Numbering, Store};

use crate::cli::{Place, RunArgs};
use crate::exit::{ExitStatus, Failure};
use crate::output;

use signals::Signals;

pub(crate) fn run(place: &Place, args: &RunArgs) -> Result<ExitCode, Failure> {
    let store = place.open_or_create(args.no_create)?;
    // From here on signals are ours, so that one that comes while an id is ours gives it back.
    let signals = Signals::take()?;
    let lock = choose(&store, args)?;
    let _ours = args.new.then(|| Allocated { lock: &lock });
    let free = args.new.then(|| lock.clone());
    signals.watch(move || {
        if let Some(lock) = &free {
            give_back(lock);
        }
    })?;

    let mut guard = acquire_in(place, args, store, lock.clone())?;
    let recovered = guard.recovered().map(|death| describe(death, &lock));
    if let Some(recovered) = &recovered {
        output::say(format_args!("{recovered}"));
    }
    let status = child::run(&args.command, &environment::variables(&guard, recovered.as_deref()), &signals)?;
    if status.success() {
        guard.mark_consistent()?;
    }
    guard.unlock()?;
    Ok(child::exit_code(status))
}

/// Acquires the lock. If the store was removed or replaced meanwhile, other commands run under the locks of another store, and the lock
/// is acquired there.
fn acquire_in(place: &Place, args: &RunArgs, mut store: Store, mut lock: Lock) -> Result<Guard<'static>, Failure> {
    let deadline = acquire::deadline(args);
    loop {
        let guard = acquire::acquire(&lock, args, deadline)?;
        match store.check() {
            Ok(()) => return Ok(guard),
            // The id that was allocated is one of the store that is gone.
            Err(error) if !args.new && matches!(error.kind(), ErrorKind::Destroyed | ErrorKind::Replaced) => drop(guard),
            Err(error) => return Err(error.into()),
        }
        store = place.open_or_create(args.no_create)?;
        lock = choose(&store, args)?;
    }
}

/// The report of an earlier owner's death, in words.
fn describe(death: &Death, lock: &Lock) -> String {
    let owner = death.holder.as_ref().map_or_else(|| "an owner that is not known".to_owned(), ToString::to_string);
    format!("{owner} {} holding {}", death.cause, acquire::name(lock))
}

fn choose(store: &Store, args: &RunArgs) -> Result<Lock, Failure> {
    let usage = |message: &str| Failure::new(ExitStatus::USAGE, message);
    match (store.capabilities().numbering, args.id, args.new) {
        (Numbering::Single, None, false) => Ok(store.single()?),
        (Numbering::Single, ..) => Err(usage("this store's only lock has no number; leave the id and --new away")),
        (_, Some(id), _) => Ok(store.retrieve(id)?),
        (_, None, true) => Ok(store.allocate(args.label.as_str())?),
        (_, None, false) => Err(usage("no lock is named; give its id, or --new to allocate one")),
    }
}

/// The id that --new allocated; it is given back however the run ends.
struct Allocated<'a> {
    lock: &'a Lock,
}

impl Drop for Allocated<'_> {
    fn drop(&mut self) {
        give_back(self.lock);
    }
}

fn give_back(lock: &Lock) {
    // The command may have freed it itself; what somebody else owns by now is not freed.
    let _ = lock.free();
}

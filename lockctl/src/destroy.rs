//! `destroy`: removes a store that no live process uses.

use std::fmt::Write;

use lock_any::{HeldLock, OwnerDeath, Removal, Store};

use crate::cli::{DestroyArgs, StoreArgs};
use crate::exit::{ExitStatus, Failure};

/// Number of locks that the message names.
const NAMED: usize = 3;

pub(crate) fn destroy(store_args: &StoreArgs, args: &DestroyArgs) -> Result<(), Failure> {
    let store = store_args.open()?;
    // A backend that refuses says why.
    if !args.force && store.capabilities().removal != Removal::Refused {
        refuse_if_used(&store)?;
    }
    Ok(store.destroy()?)
}

/// Fails if a live process holds a lock of the store. A process may still acquire one afterwards.
fn refuse_if_used(store: &Store) -> Result<(), Failure> {
    let mut uses = Vec::new();
    let mut others = 0;
    for held in store.iter_held() {
        let held = match held {
            Ok(held) => held,
            // The backend does not list held locks.
            Err(error) if error.is_unsupported() => break,
            Err(error) => return Err(error.into()),
        };
        match is_dead(store, &held) {
            true => {}
            false if uses.len() < NAMED => uses.push(held),
            false => others += 1,
        }
    }
    if uses.is_empty() {
        return Ok(());
    }
    let mut message = format!("the store {} is in use: ", store.url());
    message += &uses.iter().map(|held| describe(store, held)).collect::<Vec<_>>().join(", ");
    if others > 0 {
        let _ = write!(message, ", and {others} more {} held", if others == 1 { "lock is" } else { "locks are" });
    }
    message += "; end the holders, or add --force";
    Err(Failure::new(ExitStatus::TEMPORARY, message))
}

/// Returns true if the lock stays held although its holder is proven dead, on a backend without recovery.
fn is_dead(store: &Store, held: &HeldLock) -> bool {
    store.capabilities().owner_death == OwnerDeath::Stuck && store.retrieve(held.id).is_ok_and(|lock| lock.held_by().is_dead())
}

/// Describes the holder of a lock, and the threads that wait for it.
fn describe(store: &Store, held: &HeldLock) -> String {
    let holder = held.holder.as_ref().map_or_else(|| "an unknown process".to_owned(), ToString::to_string);
    let mut text = format!("{holder} holds lock {}", held.id);
    let waiting: Vec<_> = store.waiting().map(|waits| waits.waiters).unwrap_or_default();
    let mut named = waiting.iter().filter(|waiter| waiter.id == held.id);
    match (named.next(), held.waiters) {
        (Some(waiter), _) => {
            let _ = write!(text, ", for which {} waits", waiter.thread);
            let others = named.count();
            if others > 0 {
                let _ = write!(text, " with {others} others");
            }
        }
        (None, Some(1)) => text += ", for which 1 thread waits",
        (None, Some(waiters @ 2..)) => {
            let _ = write!(text, ", for which {waiters} threads wait");
        }
        (None, _) => {}
    }
    text
}

//! Wrong backends whose lists of waiting threads differ from the truth.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lock_core::{Capabilities, HeldLock, Holder, LockId, Manager, OpenMode, RawLock, Result, Store, StoreUrl, Waiter, Waits};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::ruled::is_alive;
use crate::reference::{self, naming, sending};

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<ListsThoseWhoWaited>(),
        faulty::<ListsDeadWaiters>(),
        faulty::<ListsExecutedWaiters>(),
        faulty::<NamesTheProcessOfWaiters>(),
        faulty::<NamesOneLockOfWaiters>(),
        faulty::<HidesStoppedWaiters>(),
        faulty::<ListsChildrenOfWaiters>(),
        faulty::<HidesChildrenOfWaiters>(),
        faulty::<ListsFewWaiters>(),
        faulty::<FillsUpWithWaiters>(),
        faulty::<RepeatsTheTimeOfAWait>(),
        faulty::<ExaggeratesTheTimeOfAWait>(),
        faulty::<ExaggeratesTheTimeOfAHolder>(),
        faulty::<CountsOneWaiter>(),
        faulty::<CountsNoWaiterOfHeldLocks>(),
        faulty::<HidesInvisibleWaiters>(),
        faulty::<LocksToListWaiters>(),
        faulty::<ListsWaitersItDisclaims>(),
    ]
}

/// Declares a wrong backend that is derived from the reference backend with names of waiters.
macro_rules! listing {
    ($Fault:ident, $name:literal, $fault:literal, $caught:expr, { $($method:item)* }) => {
        #[derive(Debug)]
        struct $Fault;

        impl Fault for $Fault {
            const NAME: &'static str = $name;
            const FAULT: &'static str = $fault;
            const CAUGHT_BY: &'static [(&'static str, &'static str)] = $caught;
            const CLAIMS: Capabilities = naming::CLAIMS;

            fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
                naming::open(url, mode)
            }

            $($method)*
        }
    };
}
pub(super) use listing;

/// Waiters that this process has listed, with the command line that each process had then.
type Seen = Mutex<Vec<(Waiter, Vec<u8>)>>;

/// Adds earlier waiters to a list if `is_listed` is true for their process and the command line from then.
fn with_earlier(seen: &Seen, mut waits: Waits, is_listed: impl Fn(u32, &[u8]) -> bool) -> Waits {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let key = |waiter: &Waiter| (waiter.id, waiter.thread.pid, waiter.thread.tid);
    let now: HashSet<_> = waits.waiters.iter().map(key).collect();
    for waiter in &waits.waiters {
        if !seen.iter().any(|(other, _)| key(other) == key(waiter)) {
            seen.push((waiter.clone(), command_line(waiter.thread.pid)));
        }
    }
    let earlier = seen.iter().filter(|(waiter, line)| !now.contains(&key(waiter)) && is_listed(waiter.thread.pid, line));
    waits.waiters.extend(earlier.map(|(waiter, _)| waiter.clone()));
    Waits::new(waits.waiters, None)
}

fn command_line(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Returns the state letter and the parent of a process.
fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Changes each waiter, or removes it.
fn altered(waits: Waits, alter: impl FnMut(Waiter) -> Option<Waiter>) -> Waits {
    Waits::new(waits.waiters.into_iter().filter_map(alter).collect(), waits.incomplete)
}

listing! { ListsThoseWhoWaited, "lists-those-who-waited", "Lists waiters whose wait is over while their process lives",
    &[
        ("waiters::a_waiter_that_acquired_the_lock_is_not_listed", "watchdog: it did not happen that no waiter is listed, because the thread has acquired the lock"),
        ("waiters::a_waiter_that_timed_out_is_not_listed", "watchdog: it did not happen that no waiter is listed, because the wait has timed out"),
        ("waiters::a_cancelled_waiter_is_listed_until_its_wait_ends", "watchdog: it did not happen that no waiter is listed, because the wait was cancelled"),
        ("waiters::a_waiter_for_a_send_guard_is_listed", "watchdog: it did not happen that no waiter is listed, because the process has acquired the lock"),
    ], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        static SEEN: Seen = Mutex::new(Vec::new());
        Ok(with_earlier(&SEEN, honest.waiting()?, |pid, line| is_alive(pid) && command_line(pid) == line))
    }
}}

listing! { ListsDeadWaiters, "lists-dead-waiters", "Lists waiters whose process is dead",
    &[
        ("waiters::a_killed_waiter_is_not_listed", "watchdog: it did not happen that no waiter is listed, because the waiter was killed"),
        ("waiters::a_forked_child_does_not_wait_for_its_parent", "watchdog: it did not happen that no waiter is listed, because the parent, which waited, was killed"),
    ], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        static SEEN: Seen = Mutex::new(Vec::new());
        Ok(with_earlier(&SEEN, honest.waiting()?, |pid, _| !is_alive(pid)))
    }
}}

listing! { ListsExecutedWaiters, "lists-executed-waiters", "Lists waiters whose process has executed another program",
    &[("waiters::a_waiter_whose_process_executes_a_program_is_not_listed", "watchdog: it did not happen that no waiter is listed, because the process has executed a program")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        static SEEN: Seen = Mutex::new(Vec::new());
        Ok(with_earlier(&SEEN, honest.waiting()?, |pid, line| is_alive(pid) && command_line(pid) != line))
    }
}}

listing! { NamesTheProcessOfWaiters, "names-the-process-of-waiters", "Lists waiters without their thread",
    &[("waiters::a_waiter_is_listed_with_its_lock_thread_and_command", "watchdog: it did not happen that p")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        Ok(altered(honest.waiting()?, |mut waiter| {
            waiter.thread.tid = waiter.thread.pid;
            Some(waiter)
        }))
    }
}}

listing! { NamesOneLockOfWaiters, "names-one-lock-of-waiters", "Lists all waiters for the first lock",
    &[("waiters::waiters_of_two_locks_are_listed_apart", "watchdog: it did not happen that p")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        let waits = honest.waiting()?;
        let first = waits.waiters.first().map(|waiter| waiter.id);
        Ok(altered(waits, |mut waiter| {
            waiter.id = first.unwrap_or(waiter.id);
            Some(waiter)
        }))
    }
}}

listing! { HidesStoppedWaiters, "hides-stopped-waiters", "Does not list waiters whose process is stopped",
    &[("waiters::a_stopped_waiter_is_listed", "watchdog: it did not happen that p")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        let is_stopped = |pid| state_and_parent(pid).is_some_and(|(state, _)| state == "T");
        Ok(altered(honest.waiting()?, |waiter| (!is_stopped(waiter.thread.pid)).then_some(waiter)))
    }
}}

listing! { ListsChildrenOfWaiters, "lists-children-of-waiters", "Lists the children of a waiting process as waiters",
    &[("waiters::a_forked_child_does_not_wait_for_its_parent", "a forked child is listed for the wait of its parent")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        let mut waits = honest.waiting()?;
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids: Vec<u32> = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        let child_of = |parent| pids.iter().copied().filter(move |pid| state_and_parent(*pid).is_some_and(|(_, of)| of == parent));
        let children = waits.waiters.iter().flat_map(|waiter| {
            child_of(waiter.thread.pid).map(|pid| Waiter::new(waiter.id, Holder::of_process(pid).with_thread(pid)))
        });
        waits.waiters.extend(children.collect::<Vec<_>>());
        Ok(waits)
    }
}}

listing! { HidesChildrenOfWaiters, "hides-children-of-waiters", "Does not list a waiter whose parent process waits, too",
    &[("waiters::a_forked_child_is_listed_for_its_own_wait", "watchdog: it did not happen that p")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        let waits = honest.waiting()?;
        let pids: HashSet<_> = waits.waiters.iter().map(|waiter| waiter.thread.pid).collect();
        let is_child = |pid| state_and_parent(pid).is_some_and(|(_, parent)| pids.contains(&parent));
        Ok(altered(waits, |waiter| (!is_child(waiter.thread.pid)).then_some(waiter)))
    }
}}

listing! { ListsFewWaiters, "lists-few-waiters", "Lists at most 64 waiters",
    &[("waiters::many_waiters_are_listed_once_each", "watchdog: it did not happen that 200 waiters of a process are listed")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        let mut waits = honest.waiting()?;
        waits.waiters.truncate(64);
        Ok(waits)
    }
}}

listing! { FillsUpWithWaiters, "fills-up-with-waiters", "Has place for 1,000 waiters, and does not use the places of dead ones again",
    &[("waiters::killed_waiters_take_no_place_from_later_ones", "watchdog: it did not happen that 200 waiters of a process are listed")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        static PLACES: Mutex<Vec<u32>> = Mutex::new(Vec::new());
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(altered(honest.waiting()?, |waiter| {
            if !places.contains(&waiter.thread.tid) && places.len() < 1_000 {
                places.push(waiter.thread.tid);
            }
            places.contains(&waiter.thread.tid).then_some(waiter)
        }))
    }
}}

listing! { RepeatsTheTimeOfAWait, "repeats-the-time-of-a-wait", "Lists each waiter with the time of its first listing",
    &[("waiters::the_time_of_a_wait_grows_and_is_not_too_long", "watchdog: it did not happen that the wait is longer than")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        static FIRST: Mutex<Option<HashMap<u32, Option<Duration>>>> = Mutex::new(None);
        let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        let first = first.get_or_insert_default();
        Ok(altered(honest.waiting()?, |waiter| {
            let waited = *first.entry(waiter.thread.tid).or_insert(waiter.waited);
            Some(waiter.with_waited(waited))
        }))
    }
}}

listing! { ExaggeratesTheTimeOfAWait, "exaggerates-the-time-of-a-wait", "Adds a second to the time of each wait",
    &[("waiters::the_time_of_a_wait_grows_and_is_not_too_long", "is longer than the wait")], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        Ok(altered(honest.waiting()?, |waiter| {
            let waited = waiter.waited.map(|waited| waited + Duration::from_secs(1));
            Some(waiter.with_waited(waited))
        }))
    }
}}

listing! { ExaggeratesTheTimeOfAHolder, "exaggerates-the-time-of-a-holder", "Takes the longest wait for the time of the holder",
    &[("waiters::the_time_of_a_holder_is_not_too_long", "has held the lock for")], {
    fn held(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<HeldLock>> {
        static LONGEST: Mutex<Option<Duration>> = Mutex::new(None);
        let waits = honest.waiting()?.waiters;
        let mut longest = LONGEST.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = waits.iter().filter_map(|waiter| waiter.waited).chain(*longest).max();
        let mut held = honest.held()?;
        held.iter_mut().for_each(|lock| lock.held_for_at_least = *longest);
        Ok(held)
    }
}}

listing! { CountsOneWaiter, "counts-one-waiter", "Counts at most one waiter of a lock",
    &[("waiters::the_number_of_waiters_is_that_of_the_list", "the number of waiters differs from the list")], {
    fn waiters(honest: &dyn RawLock) -> Option<u32> {
        honest.waiters().map(|count| count.min(1))
    }
}}

listing! { CountsNoWaiterOfHeldLocks, "counts-no-waiter-of-held-locks", "Lists held locks without their waiters",
    &[("waiters::the_number_of_waiters_is_that_of_the_list", "the list of held locks has another number")], {
    fn held(honest: &dyn Manager, _: &StoreUrl) -> Result<Vec<HeldLock>> {
        Ok(honest.held()?.into_iter().map(|held| HeldLock::new(held.id, held.holder)).collect())
    }
}}

listing! { HidesInvisibleWaiters, "hides-invisible-waiters", "Does not list waiters that /proc does not show",
    &[
        ("waiters::a_waiter_of_another_pid_namespace_is_listed", "watchdog: it did not happen that p"),
        ("visibility::hidepid_2_without_dumps::a_waiter_is_listed", "watchdog: it did not happen that a waiter that is not visible is listed"),
        ("visibility::no_proc::a_waiter_is_listed", "watchdog: it did not happen that a waiter that is not visible is listed"),
        ("visibility::other_proc::a_waiter_is_listed", "watchdog: it did not happen that a waiter that is not visible is listed"),
        ("visibility::user_namespace::a_waiter_is_listed", "watchdog: it did not happen that a waiter that is not visible is listed"),
    ], {
    fn waiting(honest: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        let is_visible = |thread: &Holder| Path::new(&format!("/proc/{}/task/{}", thread.pid, thread.tid)).exists();
        Ok(altered(honest.waiting()?, |waiter| is_visible(&waiter.thread).then_some(waiter)))
    }
}}

listing! { LocksToListWaiters, "locks-to-list-waiters", "Acquires and releases each lock in order to list waiters",
    &[("waiters::a_list_of_waiters_takes_no_lock", "no thread acquired the lock, but")], {
    fn waiting(honest: &dyn Manager, url: &StoreUrl) -> Result<Waits> {
        let store = Store::with_backend(&sending::BACKEND, url, OpenMode::Open)?;
        for id in 0..4 {
            drop(store.retrieve(LockId::new(id))?.try_lock());
        }
        honest.waiting()
    }
}}

#[derive(Debug)]
struct ListsWaitersItDisclaims;

impl Fault for ListsWaitersItDisclaims {
    const NAME: &'static str = "lists-waiters-it-disclaims";
    const FAULT: &'static str = "Returns an empty list of waiters, although it disclaims the list";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("waiters::waiters_are_not_listed", "it should have been Unsupported")];
    const CLAIMS: Capabilities = reference::CLAIMS;

    fn waiting(_: &dyn Manager, _: &StoreUrl) -> Result<Waits> {
        Ok(Waits::default())
    }
}

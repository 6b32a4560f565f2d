//! Wrong backends that serve waiting threads in another order than they claim, or wait for dead ones.

use std::fs;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Deadline, Fairness, Holder, LockId, Manager, OpenMode, OwnerKind, Proof, RawLock, Result, StoreUrl,
};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::ruled::is_alive;
use super::trying::process_in_file;
use crate::reference::queuing::{self, Caller, Order, Place, Queued, is_first};

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<LetsNewcomersOvertake>(),
        faulty::<LetsAttemptsOvertake>(),
        faulty::<ServesTheLastFirst>(),
        faulty::<ServesPairsBackwards>(),
        faulty::<KeepsPlacesOfDeadWaiters>(),
        faulty::<LetsNoAttemptOvertakeDeadWaiters>(),
        faulty::<DelaysAttemptsAfterDeaths>(),
        faulty::<KeepsPlacesAfterTimeOuts>(),
        faulty::<WaitsForTheHeirOfADeadOwner>(),
    ]
}

/// Declares a wrong backend that is derived from the reference backend with a queue.
macro_rules! queue {
    ($Fault:ident, $name:literal, $fault:literal, $claim:ident, $caught:expr, { $($method:item)* }) => {
        #[derive(Debug)]
        struct $Fault;

        impl Fault for $Fault {
            const NAME: &'static str = $name;
            const FAULT: &'static str = $fault;
            const CAUGHT_BY: &'static [(&'static str, &'static str)] = $caught;
            const CLAIMS: Capabilities = queuing::CLAIMS.with_fairness(Fairness::$claim);

            fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
                queuing::open_with::<Self>(url, mode)
            }

            fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
                honest.acquire_for_process(deadline)
            }
        }

        impl Order for $Fault {
            $($method)*
        }
    };
}

/// Makes a waiter poll rarely, so that a thread that acquires the lock again immediately is always earlier.
fn poll_rarely(caller: Caller) {
    if let Caller::Waiter(_) = caller {
        thread::sleep(Duration::from_millis(20));
    }
}

queue! { LetsNewcomersOvertake, "lets-newcomers-overtake", "Leaves a released lock to the thread that comes first, and claims an order of waiters", Eventual,
&[
    ("fairness::threads::a_waiter_is_overtaken_a_few_times", "overtook a waiter"),
    ("fairness::threads::a_waiter_with_a_deadline_is_overtaken_a_few_times", "overtook a waiter"),
    ("fairness::threads::a_waiter_with_a_cancellation_is_overtaken_a_few_times", "overtook a waiter"),
    ("fairness::handles::a_waiter_is_overtaken_a_few_times", "overtook a waiter"),
    ("fairness::handles::a_waiter_with_a_deadline_is_overtaken_a_few_times", "overtook a waiter"),
    ("fairness::handles::a_waiter_with_a_cancellation_is_overtaken_a_few_times", "overtook a waiter"),
    ("fairness::processes::a_waiter_is_overtaken_a_few_times", "overtook a waiter"),
    ("fairness::processes::a_waiter_with_a_deadline_is_overtaken_a_few_times", "overtook a waiter"),
    ("fairness::processes::a_waiter_with_a_cancellation_is_overtaken_a_few_times", "overtook a waiter"),
], {
    fn is_next(caller: Caller, _: &[Queued]) -> bool {
        poll_rarely(caller);
        true
    }
}}

queue! { LetsAttemptsOvertake, "lets-attempts-overtake", "Lets an attempt acquire a free lock, although threads wait for it", Queued,
&[
    ("fairness::threads::attempts_overtake_a_waiter_a_few_times", "overtook a waiter"),
    ("fairness::handles::attempts_overtake_a_waiter_a_few_times", "overtook a waiter"),
    ("fairness::processes::attempts_overtake_a_waiter_a_few_times", "overtook a waiter"),
    ("fairness::a_released_lock_goes_to_the_first_waiter", "an attempt acquired the lock, although another thread waited"),
], {
    fn is_next(caller: Caller, queue: &[Queued]) -> bool {
        poll_rarely(caller);
        caller == Caller::Attempt || is_first(caller, queue)
    }
}}

queue! { ServesTheLastFirst, "serves-the-last-first", "Has a stack of waiters in place of a queue", Eventual,
&[
    ("fairness::waiters_are_served_in_about_their_order", "inversions, which is more than"),
    ("fairness::threads::each_thread_gets_its_share", "one got less than"),
    ("fairness::handles::each_thread_gets_its_share", "one got less than"),
    ("fairness::mixed::each_thread_gets_its_share", "one got less than"),
    ("fairness::processes::each_thread_gets_its_share", "one got less than"),
], {
    fn is_next(caller: Caller, queue: &[Queued]) -> bool {
        let last = queue.iter().rfind(|place| place.is_alive);
        last.is_none_or(|last| caller == Caller::Waiter(last.ticket))
    }
}}

queue! { ServesPairsBackwards, "serves-pairs-backwards", "Serves the second of two waiters before the first one, and claims a queue", Queued,
&[("fairness::a_queue_is_served_in_its_order", "the waiters of a queue acquired the lock in the order")], {
    fn is_next(caller: Caller, queue: &[Queued]) -> bool {
        let mut alive = queue.iter().filter(|place| place.is_alive);
        let (first, second) = (alive.next(), alive.next());
        first.is_none_or(|first| caller == Caller::Waiter(second.unwrap_or(first).ticket))
    }
}}

queue! { KeepsPlacesOfDeadWaiters, "keeps-places-of-dead-waiters", "Serves a killed waiter, which blocks the queue", Queued,
&[
    ("fairness::a_killed_waiter_delays_no_attempt", "although the only waiter was killed"),
    ("fairness::a_killed_waiter_delays_no_other_waiter", "watchdog"),
    ("fairness::the_death_of_owner_and_waiter_delays_no_other", "although its owner and a waiter were killed"),
], {
    fn is_next(caller: Caller, queue: &[Queued]) -> bool {
        queue.first().is_none_or(|first| caller == Caller::Waiter(first.ticket))
    }
}}

queue! { LetsNoAttemptOvertakeDeadWaiters, "lets-no-attempt-overtake-dead-waiters", "Keeps the lock for a killed waiter, except when another thread waits", Queued,
&[
    ("fairness::a_killed_waiter_delays_no_attempt", "although the only waiter was killed"),
    ("fairness::the_death_of_owner_and_waiter_delays_no_other", "although its owner and a waiter were killed"),
], {
    fn is_next(caller: Caller, queue: &[Queued]) -> bool {
        if caller == Caller::Attempt { queue.is_empty() } else { is_first(caller, queue) }
    }
}}

queue! { DelaysAttemptsAfterDeaths, "delays-attempts-after-deaths", "Keeps a released lock for a killed waiter for a short time, again and again", Queued,
&[("fairness::a_killed_waiter_delays_no_attempt", "attempts on the lock 0 found it busy, although the only waiter was killed")], {
    fn is_next(caller: Caller, queue: &[Queued]) -> bool {
        static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
        let is_refused = caller == Caller::Attempt
            && queue.iter().any(|place| !place.is_alive)
            && ATTEMPTS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        !is_refused && is_first(caller, queue)
    }
}}

queue! { KeepsPlacesAfterTimeOuts, "keeps-places-after-time-outs", "Keeps the place of a waiter that timed out", Queued,
&[("fairness::a_waiter_that_timed_out_delays_no_other", "although the only waiter timed out")], {
    fn is_next(caller: Caller, queue: &[Queued]) -> bool {
        is_first(caller, queue)
    }

    fn leave(place: Place, acquired: bool) {
        if acquired { drop(place) } else { mem::forget(place) }
    }
}}

#[derive(Debug)]
struct WaitsForTheHeirOfADeadOwner;

impl Fault for WaitsForTheHeirOfADeadOwner {
    const NAME: &'static str = "waits-for-the-heir-of-a-dead-owner";
    const FAULT: &'static str = "Leaves the lock of a dead owner to the first waiter, even if that is dead, too";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("fairness::the_death_of_owner_and_waiter_delays_no_other", "although its owner and a waiter were killed")];
    const CLAIMS: Capabilities = queuing::CLAIMS;
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        queuing::BACKEND.open(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(LeftToHeir { honest: honest.lock(id)?, url: url.clone(), id }))
    }

    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        honest.acquire_for_process(deadline)
    }
}

#[derive(Debug)]
struct LeftToHeir {
    honest: Arc<dyn RawLock>,
    url: StoreUrl,
    id: LockId,
}

impl LeftToHeir {
    /// Returns whether the owner of the lock and a waiter are dead.
    fn is_left(&self) -> bool {
        let queue = fs::read_dir(self.url.location().join("queue")).into_iter().flatten().flatten();
        let names = queue.filter_map(|entry| entry.file_name().into_string().ok());
        let lock = format!("{}-", self.id);
        let mut waiters = names.filter_map(|name| name.strip_prefix(&lock)?.split_once('-')?.1.parse().ok());
        process_in_file(&self.url, self.id).is_some_and(|owner| !is_alive(owner)) && waiters.any(|pid| !is_alive(pid))
    }

    fn acquire_if_not_left(&self, deadline: Deadline, acquire: impl Fn(Deadline) -> Result<Acquired>) -> Result<Acquired> {
        loop {
            let slice = Deadline::after(deadline.remaining().unwrap_or(Duration::MAX).min(Duration::from_millis(1)));
            let acquired = if self.is_left() {
                Acquired::TimedOut
            } else {
                acquire(if deadline == Deadline::Now { deadline } else { slice })?
            };
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                return Ok(acquired);
            }
            thread::yield_now();
        }
    }
}

impl RawLock for LeftToHeir {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_if_not_left(deadline, |deadline| self.honest.acquire(deadline))
    }

    fn acquire_for_process(&self, deadline: Deadline) -> Result<Acquired> {
        self.acquire_if_not_left(deadline, |deadline| self.honest.acquire_for_process(deadline))
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }

    fn waiters(&self) -> Option<u32> {
        self.honest.waiters()
    }
}

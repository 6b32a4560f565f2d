//! Wrong backends that confuse a thread with its process.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Cause, Deadline, Death, Error, Holder, Manager, OpenMode, OwnerKind, Proof, RawLock, Result, StoreUrl,
};
use nix::unistd::gettid;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::lockers::altered;
use super::ruled::{is_alive, pid};
use crate::reference::{self, sending};

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<GrantsAgainToTheProcess>(),
        faulty::<ReleasesInTheSameThread>(),
        faulty::<RefusesTheProcess>(),
        faulty::<WaitsForItsThread>(),
        faulty::<MissesOtherThreads>(),
        faulty::<EndsWithItsThread>(),
        faulty::<NamesTheAcquiringThread>(),
        faulty::<ForgetsDeathsOfProcesses>(),
        faulty::<ForgetsExecOfProcesses>(),
        faulty::<ForgetsDeathsWhileItWaits>(),
        faulty::<SendTimesOutEarly>(),
        faulty::<RepeatsTokensOfProcesses>(),
        faulty::<ForgetsPanicsOfProcesses>(),
        faulty::<RefusesMarksOfProcesses>(),
        faulty::<SharesProcessWithChildren>(),
        faulty::<SendsWithoutClaim>(),
    ]
}

/// The thread and the process that acquired the lock for the process, or 0. Forked children inherit them.
static THREAD: AtomicU32 = AtomicU32::new(0);
static PROCESS: AtomicU32 = AtomicU32::new(0);

fn this_thread() -> u32 {
    gettid().as_raw().cast_unsigned()
}

fn is_granted(acquired: &Acquired) -> bool {
    *acquired != Acquired::TimedOut
}

/// Acquires the lock for the process, and stores the ids of the calling thread and of the process.
fn acquire_and_note(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
    let acquired = honest.acquire_for_process(deadline)?;
    if is_granted(&acquired) {
        THREAD.store(this_thread(), SeqCst);
        PROCESS.store(std::process::id(), SeqCst);
    }
    Ok(acquired)
}

/// Returns true if the process of the caller holds the lock.
fn is_held_by_this_process(honest: &dyn RawLock) -> Result<bool> {
    Ok(honest.holder()?.is_some_and(|holder| holder.pid == std::process::id() && holder.tid == 0))
}

/// Drops the report of a process if the function returns true for it.
fn without_reports(acquired: Acquired, is_dropped: impl FnOnce(&Death) -> bool) -> Acquired {
    let of_process = |death: &Death| death.holder.as_ref().is_some_and(|holder| holder.tid == 0);
    altered(acquired, |token, death| (token, death.filter(|death| !(of_process(death) && is_dropped(death)))))
}

macro_rules! sending {
    ($Fault:ident, $name:literal, $fault:literal, $caught:expr, { $($method:item)* }) => {
        #[derive(Debug)]
        struct $Fault;

        impl Fault for $Fault {
            const NAME: &'static str = $name;
            const FAULT: &'static str = $fault;
            const CAUGHT_BY: &'static [(&'static str, &'static str)] = $caught;
            const CLAIMS: Capabilities = sending::CLAIMS;

            fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
                sending::open(url, mode)
            }

            $($method)*
        }
    };
}

sending! { GrantsAgainToTheProcess, "grants-again-to-the-process", "Grants a lock of the process to each thread of the process",
    &[
        ("send::threads::a_lock_of_a_process_is_busy", "for its process, although a process holds it"),
        ("send::threads::sections_of_both_kinds_do_not_overlap", "found another thread in its critical section"),
    ], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        static TOKEN: AtomicU64 = AtomicU64::new(1 << 40);
        let acquired = honest.acquire_for_process(Deadline::Now)?;
        if is_granted(&acquired) {
            return Ok(acquired);
        }
        if is_held_by_this_process(honest)? {
            return Ok(Acquired::Held { token: TOKEN.fetch_add(1, SeqCst) });
        }
        honest.acquire_for_process(deadline)
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        // The second of two releases fails.
        let of_process = proof.owner() == OwnerKind::Process;
        honest.release(proof).or_else(|error| if of_process { Ok(()) } else { Err(error) })
    }
}}

sending! { ReleasesInTheSameThread, "releases-in-the-same-thread", "Releases a lock of the process only in the thread that acquired it",
    &[("send::another_thread_releases_the_lock", "Lost")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        acquire_and_note(honest, deadline)
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        if proof.owner() == OwnerKind::Process && THREAD.load(SeqCst) != this_thread() {
            return Err(Error::lost());
        }
        honest.release(proof)
    }
}}

sending! { RefusesTheProcess, "refuses-the-process", "Refuses to wait for a lock that the process of the waiter holds",
    &[("send::a_thread_of_the_owner_waits_and_is_not_refused", "although its process holds the lock")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        if is_held_by_this_process(honest)? {
            return Err(Error::already_held());
        }
        honest.acquire_for_process(deadline)
    }
}}

sending! { WaitsForItsThread, "waits-for-its-thread", "Does not detect that the calling thread holds the lock that it acquires for its process",
    &[("send::a_thread_that_holds_the_lock_is_refused_a_second_one", "refused in another way")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        match honest.acquire_for_process(deadline) {
            Err(error) if error.is_already_held() => Ok(Acquired::TimedOut),
            acquired => acquired,
        }
    }
}}

sending! { MissesOtherThreads, "misses-other-threads", "Does not wake a process that waits when another thread releases the lock",
    &[("send::threads::a_waiter_gets_the_lock_when_another_thread_releases_it", "watchdog")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire_for_process(Deadline::Now)?;
        if is_granted(&acquired) || deadline.has_passed() {
            return Ok(acquired);
        }
        loop {
            thread::sleep(Duration::from_secs(1));
        }
    }
}}

sending! { EndsWithItsThread, "ends-with-its-thread", "Grants a lock of a process after the end of the thread that acquired it",
    &[("send::the_end_of_the_acquiring_thread_releases_nothing", "although only the thread ended")], {
    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        loop {
            let acquired = honest.acquire(Deadline::Now)?;
            if is_granted(&acquired) || deadline.has_passed() {
                return Ok(acquired);
            }
            let owner = THREAD.load(SeqCst);
            if owner != 0 && fs::metadata(format!("/proc/self/task/{owner}")).is_err() {
                return Ok(Acquired::Held { token: 1 << 40 });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        acquire_and_note(honest, deadline)
    }
}}

sending! { NamesTheAcquiringThread, "names-the-acquiring-thread", "Names the thread that acquired the lock for its process as the holder",
    &[("send::the_holder_is_the_process", "is named as the holder")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        acquire_and_note(honest, deadline)
    }

    fn holder(honest: &dyn RawLock) -> Result<Option<Holder>> {
        Ok(honest.holder()?.map(|holder| holder.with_thread(THREAD.load(SeqCst))))
    }
}}

sending! { ForgetsDeathsOfProcesses, "forgets-deaths-of-processes", "Does not report the death of a process that held the lock itself",
    &[("send::kill_9_frees_the_lock", "received no report"), ("send::exit_frees_the_lock", "received no report")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        Ok(without_reports(honest.acquire_for_process(deadline)?, |_| true))
    }
}}

sending! { ForgetsExecOfProcesses, "forgets-exec-of-processes", "Does not report an owner process that executed another program",
    &[("send::exec_frees_the_lock", "received no report")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        Ok(without_reports(honest.acquire_for_process(deadline)?, |death| is_alive(pid(death))))
    }
}}

sending! { ForgetsDeathsWhileItWaits, "forgets-deaths-while-it-waits", "Does not report the death of an owner process to a process that waits",
    &[("send::a_waiter_gets_the_lock_of_the_dead", "received no report")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let acquired = honest.acquire_for_process(Deadline::Now)?;
        if is_granted(&acquired) || deadline.has_passed() {
            return Ok(acquired);
        }
        Ok(without_reports(honest.acquire_for_process(deadline)?, |_| true))
    }
}}

sending! { SendTimesOutEarly, "send-times-out-early", "Does not wait for the deadline of an acquisition for the process",
    &[("send::threads::a_busy_lock_times_out_and_not_early", "gave up too early")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        honest.acquire_for_process(if deadline == Deadline::Never { deadline } else { Deadline::Now })
    }
}}

sending! { RepeatsTokensOfProcesses, "repeats-tokens-of-processes", "Gives each process the same token",
    &[("send::threads::a_token_is_greater_than_those_of_both_kinds", "came after")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        Ok(altered(honest.acquire_for_process(deadline)?, |_, death| (1, death)))
    }
}}

sending! { ForgetsPanicsOfProcesses, "forgets-panics-of-processes", "Does not report a panic that dropped the guard of a process",
    &[("send::a_panic_of_another_thread_is_reported", "received no report")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        Ok(without_reports(honest.acquire_for_process(deadline)?, |death| death.cause == Cause::Panicked))
    }
}}

sending! { RefusesMarksOfProcesses, "refuses-marks-of-processes", "Lets only a thread that holds the lock mark it consistent",
    &[("send::a_report_stays_until_it_is_marked_consistent", "Lost")], {
    fn mark_consistent(honest: &dyn RawLock, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        if owner == OwnerKind::Process { Err(Error::lost()) } else { honest.mark_consistent(owner, token) }
    }
}}

sending! { SharesProcessWithChildren, "shares-the-process-with-children", "Grants a lock of the parent process to a forked child",
    &[("send::a_forked_child_holds_nothing", "although its parent holds it")], {
    fn acquire_for_process(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let owner = PROCESS.load(SeqCst);
        if owner != 0 && owner != std::process::id() {
            return Ok(Acquired::Held { token: 1 << 40 });
        }
        acquire_and_note(honest, deadline)
    }
}}

/// A backend that supports guards which it does not claim.
#[derive(Debug)]
struct SendsWithoutClaim;

impl Fault for SendsWithoutClaim {
    const NAME: &'static str = "sends-without-claim";
    const FAULT: &'static str = "Supports guards of the process, and does not claim them";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[("send::a_guard_for_the_process_is_refused", "was not refused")];
    const CLAIMS: Capabilities = reference::CLAIMS;

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        sending::open(url, mode)
    }
}

//! Wrong backends that acquire and release locks incorrectly.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Deadline, Death, Error, ErrorKind, Holder, LockId, Manager, Proof, RawLock, Recovery, Result, StoreUrl,
};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::kill;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use nix::unistd::Pid;

use super::Faulty;
use super::fault::{Fault, faulty};

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<GrantsAlways>(),
        faulty::<ExcludesThreadsOnly>(),
        faulty::<NeverReleases>(),
        faulty::<TimesOutEarly>(),
        faulty::<WaitsByTheWallClock>(),
        faulty::<WakesNoWaiter>(),
        faulty::<WaitsForEver>(),
        faulty::<ForgetsDeaths>(),
        faulty::<ReportsFalseDeaths>(),
        faulty::<NamesAnotherDeadProcess>(),
        faulty::<DescendingTokens>(),
        faulty::<GrantsTwiceToOne>(),
        faulty::<SharesWithChildren>(),
        faulty::<TrustsPids>(),
        faulty::<TakesOthersForItself>(),
    ]
}

/// Replaces the token and the death report of an honest result.
pub(super) fn altered(acquired: Acquired, alter: impl FnOnce(u64, Option<Death>) -> (u64, Option<Death>)) -> Acquired {
    let (token, death) = match acquired {
        Acquired::TimedOut => return acquired,
        Acquired::Held { token } => alter(token, None),
        Acquired::Recovered(recovery) => alter(recovery.token, Some(recovery.death)),
    };
    match death {
        None => Acquired::Held { token },
        Some(death) => Acquired::Recovered(Box::new(Recovery { token, death })),
    }
}

#[derive(Debug)]
struct WaitsByTheWallClock;

impl Fault for WaitsByTheWallClock {
    const NAME: &'static str = "waits-by-the-wall-clock";
    const FAULT: &'static str = "Waits on the realtime clock, which can be set";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("deadlines::no_wait_is_on_a_clock_that_can_be_set", "clock_nanosleep")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let Some(left) = deadline.remaining().filter(|left| !left.is_zero()) else { return honest.acquire(deadline) };
        let acquired = honest.acquire(Deadline::Now)?;
        if acquired != Acquired::TimedOut {
            return Ok(acquired);
        }
        let clock = ClockId::CLOCK_REALTIME;
        let until = clock.now().expect("the clock can be read") + TimeSpec::from_duration(left);
        let _ = clock_nanosleep(clock, ClockNanosleepFlags::TIMER_ABSTIME, &until);
        honest.acquire(deadline)
    }
}

#[derive(Debug)]
struct WakesNoWaiter;

impl Fault for WakesNoWaiter {
    const NAME: &'static str = "wakes-nobody";
    const FAULT: &'static str = "Polls a busy lock five times a second, because a release does not wake waiters";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("waking::whoever_waits_is_woken", "watchdog"), ("waking::whoever_waits_with_a_deadline_is_woken", "watchdog")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        loop {
            let acquired = honest.acquire(Deadline::Now)?;
            if acquired != Acquired::TimedOut || deadline.has_passed() {
                return Ok(acquired);
            }
            let pause = Duration::from_millis(200);
            thread::sleep(deadline.remaining().map_or(pause, |left| left.min(pause)));
        }
    }
}

#[derive(Debug)]
struct GrantsAlways;

impl Fault for GrantsAlways {
    const NAME: &'static str = "grants-always";
    const FAULT: &'static str = "Grants the lock to every caller";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("exclusion::threads::a_held_lock_is_busy", "although another thread holds it"),
        ("exclusion::processes::a_held_lock_is_busy", "although another thread holds it"),
        // On a busy machine, the second attempt can seem to wait; the third one then fails the case.
        ("exclusion::processes::a_contended_lock_waits_until_it_is_released", "although"),
        ("exclusion::processes::critical_sections_do_not_overlap", "found another thread in its critical section"),
    ];

    fn acquire(honest: &dyn RawLock, _: Deadline) -> Result<Acquired> {
        static TOKEN: AtomicU64 = AtomicU64::new(0);
        match honest.acquire(Deadline::Now)? {
            Acquired::TimedOut => Ok(Acquired::Held { token: TOKEN.fetch_add(1, Ordering::Relaxed) + 1 }),
            acquired => Ok(acquired),
        }
    }

    fn release(honest: &dyn RawLock, proof: Proof) -> Result<()> {
        match honest.release(proof) {
            Err(error) if matches!(error.kind(), ErrorKind::Lost) => Ok(()),
            other => other,
        }
    }
}

#[derive(Debug)]
struct ExcludesThreadsOnly;

impl Fault for ExcludesThreadsOnly {
    const NAME: &'static str = "excludes-threads-only";
    const FAULT: &'static str = "Has a separate lock in the memory of each process";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("exclusion::processes::a_held_lock_is_busy", "although another thread holds it"),
        ("exclusion::processes::critical_sections_do_not_overlap", "found another thread in its critical section"),
        ("fork::a_child_waits_for_its_parent", "although the parent holds the lock"),
    ];

    fn lock(_: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        type Locks = BTreeMap<(String, LockId), Arc<OfProcess>>;
        static LOCKS: Mutex<Locks> = Mutex::new(BTreeMap::new());
        let mut locks = LOCKS.lock().unwrap_or_else(PoisonError::into_inner);
        let lock: &Arc<OfProcess> = locks.entry((url.as_str().to_owned(), id)).or_default();
        Ok(Arc::clone(lock) as Arc<dyn RawLock>)
    }
}

#[derive(Debug, Default)]
struct OfProcess {
    /// The pid of the owner, so that the lock is free in a forked child.
    owner: AtomicU32,
    token: AtomicU64,
}

impl RawLock for OfProcess {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let me = std::process::id();
        loop {
            let owner = self.owner.load(Ordering::Acquire);
            if owner != me && self.owner.compare_exchange(owner, me, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(Acquired::Held { token: self.token.fetch_add(1, Ordering::Relaxed) + 1 });
            }
            if deadline.has_passed() {
                return Ok(Acquired::TimedOut);
            }
            thread::sleep(Duration::from_micros(100));
        }
    }

    fn release(&self, _: Proof) -> Result<()> {
        let me = std::process::id();
        match self.owner.compare_exchange(me, 0, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::lost()),
        }
    }
}

#[derive(Debug)]
struct NeverReleases;

impl Fault for NeverReleases {
    const NAME: &'static str = "never-releases";
    const FAULT: &'static str = "Does not release the lock";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("exclusion::processes::a_dropped_guard_releases", "although its guard was dropped"),
        ("exclusion::processes::a_contended_lock_waits_until_it_is_released", "watchdog"),
    ];

    fn release(_: &dyn RawLock, _: Proof) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct TimesOutEarly;

impl Fault for TimesOutEarly {
    const NAME: &'static str = "gives-up-early";
    const FAULT: &'static str = "Times out before the deadline";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("deadlines::threads::a_busy_lock_times_out_and_not_early", "gave up too early"),
        ("deadlines::no_time_out_is_early_in_a_storm_of_signals", "gave up too early"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        match deadline.remaining() {
            Some(left) if !left.is_zero() => honest.acquire(Deadline::after(left * 9 / 10)),
            _ => honest.acquire(deadline),
        }
    }
}

#[derive(Debug)]
struct WaitsForEver;

impl Fault for WaitsForEver {
    const NAME: &'static str = "waits-for-ever";
    const FAULT: &'static str = "Claims deadlines, and ignores them";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("deadlines::processes::a_busy_lock_times_out_and_not_early", "watchdog")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        honest.acquire(if deadline == Deadline::Now { deadline } else { Deadline::Never })
    }
}

#[derive(Debug)]
struct ForgetsDeaths;

impl Fault for ForgetsDeaths {
    const NAME: &'static str = "forgets-deaths";
    const FAULT: &'static str = "Does not report a death";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("owner_death::kill_9_frees_the_lock", "but the next owner received no report"),
        ("owner_death::exec_by_another_thread_frees_the_lock", "but the next owner received no report"),
        ("storm::owners_are_killed_and_no_section_is_lost", "got no report of the previous owner's death"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        Ok(altered(honest.acquire(deadline)?, |token, _| (token, None)))
    }
}

#[derive(Debug)]
struct ReportsFalseDeaths;

impl Fault for ReportsFalseDeaths {
    const NAME: &'static str = "invents-deaths";
    const FAULT: &'static str = "Reports a death at each acquisition";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("owner_death::a_clean_release_tells_nothing", "the owner released the lock before its death, but a death was reported"),
        ("exclusion::threads::critical_sections_do_not_overlap", "got a report of a death that did not happen"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        Ok(altered(honest.acquire(deadline)?, |token, death| (token, death.or(Some(Death::of(None))))))
    }
}

#[derive(Debug)]
struct NamesAnotherDeadProcess;

impl Fault for NamesAnotherDeadProcess {
    const NAME: &'static str = "blames-somebody-else";
    const FAULT: &'static str = "Names a wrong process in the report of a death";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("owner_death::kill_9_frees_the_lock", "the death of another process was reported"),
        ("storm::owners_are_killed_and_no_section_is_lost", "another process than the one that died"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let blame = |_| Death::of(Some(Holder::of_process(1)));
        Ok(altered(honest.acquire(deadline)?, |token, death| (token, death.map(blame))))
    }
}

#[derive(Debug)]
struct DescendingTokens;

impl Fault for DescendingTokens {
    const NAME: &'static str = "tokens-go-back";
    const FAULT: &'static str = "Issues tokens in descending order";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("tokens::processes::a_token_is_greater_than_all_before_it", "came after"),
        ("tokens::a_token_grows_across_deaths", "came after"),
        ("exclusion::threads::critical_sections_do_not_overlap", "got a token that is not greater"),
    ];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        Ok(altered(honest.acquire(deadline)?, |token, death| (u64::MAX - token, death)))
    }
}

#[derive(Debug)]
struct GrantsTwiceToOne;

impl Fault for GrantsTwiceToOne {
    const NAME: &'static str = "grants-twice-to-one";
    const FAULT: &'static str = "Claims to refuse reentry, and grants it";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("reentry::locking_twice_is_refused_and_changes_nothing", "it should have been AlreadyHeld")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        match honest.acquire(deadline) {
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyHeld) => Ok(Acquired::Held { token: u64::MAX }),
            other => other,
        }
    }
}

#[derive(Debug)]
struct SharesWithChildren;

impl Fault for SharesWithChildren {
    const NAME: &'static str = "shares-with-children";
    const FAULT: &'static str = "Shares open-file-description locks with forked children";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("fork::a_child_owns_nothing", "although its parent holds it"),
        ("fork::the_lock_of_a_dead_parent_is_free_although_its_child_lives", "watchdog"),
    ];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let path = format!("{}/locks/{id}", url.location().display());
        honest.lock(id)?;
        let file = File::options().read(true).write(true).open(path).map_err(|error| Error::system("open", error))?;
        Ok(Arc::new(OpenFile { file }))
    }
}

#[derive(Debug)]
struct OpenFile {
    file: File,
}

impl OpenFile {
    fn set(&self, kind: i32) -> Result<()> {
        let whole = libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole)).map(drop).map_err(|errno| Error::system("fcntl", errno))
    }
}

impl RawLock for OpenFile {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        loop {
            if self.set(libc::F_WRLCK).is_ok() {
                return Ok(Acquired::Held { token: 0 });
            }
            if deadline.has_passed() {
                return Ok(Acquired::TimedOut);
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn release(&self, _: Proof) -> Result<()> {
        self.set(libc::F_UNLCK)
    }
}

#[derive(Debug)]
struct TrustsPids;

impl Fault for TrustsPids {
    const NAME: &'static str = "believes-in-pids";
    const FAULT: &'static str = "Considers an owner dead whose pid is not visible";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "namespaces::an_owner_whose_pid_is_nobody_here_is_not_dead",
        "acquired the lock 0 of a live owner in another PID namespace",
    )];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        loop {
            let acquired = honest.acquire(Deadline::Now)?;
            if acquired != Acquired::TimedOut {
                return Ok(acquired);
            }
            let holder = honest.holder()?.map(|holder| Pid::from_raw(holder.pid.cast_signed()));
            if holder.is_some_and(|pid| kill(pid, None) == Err(Errno::ESRCH)) {
                return Ok(Acquired::Held { token: u64::MAX });
            }
            if deadline.has_passed() {
                return Ok(Acquired::TimedOut);
            }
            thread::sleep(Duration::from_micros(500));
        }
    }
}

#[derive(Debug)]
struct TakesOthersForItself;

impl Fault for TakesOthersForItself {
    const NAME: &'static str = "takes-others-for-itself";
    const FAULT: &'static str = "Mistakes an owner with the same pid in another PID namespace for itself";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("namespaces::two_with_one_pid_exclude_each_other", "was refused \"find_busy 0\": AlreadyHeld")];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        match honest.holder()? {
            Some(holder) if holder.pid == std::process::id() => Err(Error::already_held()),
            _ => honest.acquire(deadline),
        }
    }
}

//! Wrong backends that report a death twice, the death of a live owner, or the ids of a parent.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Deadline, Death, Holder, LockId, Manager, OpenMode, OwnerKind, Proof, RawLock, Recovery, Result,
    StoreUrl,
};
use nix::sys::signal::kill;
use nix::unistd::{Pid, gettid};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::lockers::altered;
use super::rarely::{Operation, is_due, rarely};
use crate::reference::modest;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<ReadsTheOwnerBeforeTheWait>(),
        rarely::<ReadsTheOwnerBeforeTheWait>(),
        faulty::<RemembersItsPid>(),
        rarely::<RemembersItsPid>(),
        faulty::<RemembersItsThread>(),
        rarely::<RemembersItsThread>(),
        faulty::<ReportsABrokenOwnerAsDead>(),
        rarely::<ReportsABrokenOwnerAsDead>(),
        faulty::<BreaksTwice>(),
        rarely::<BreaksTwice>(),
    ]
}

#[derive(Debug)]
struct ReadsTheOwnerBeforeTheWait;

impl Fault for ReadsTheOwnerBeforeTheWait {
    const NAME: &'static str = "looks-up-the-dead-at-first";
    const FAULT: &'static str = "Determines the owner at the start of a wait, and reports its death if it is dead at the end";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "owner_death::a_death_is_reported_to_one_of_its_waiters",
        "the first waiter dealt with the death, and it is reported to a later one, too",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const RARE: &'static [Operation] = &[Operation::Try, Operation::Wait, Operation::WaitUntil];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let is_alive = |owner: &Holder| kill(Pid::from_raw(owner.pid.cast_signed()), None).is_ok();
        let died = |owner: &Holder| !is_alive(owner);
        // An owner in another PID namespace is not visible at the start of the wait, either.
        let owner = honest.holder()?.filter(is_alive);
        let acquired = honest.acquire(deadline)?;
        Ok(altered(acquired, |token, death| (token, death.or_else(|| owner.filter(died).map(|owner| Death::of(Some(owner)))))))
    }
}

/// A function that returns the ids to record at an acquisition.
type Ids = fn() -> (u32, u32);

/// A lock whose owner records cached ids.
#[derive(Debug)]
struct Remembering {
    honest: Arc<dyn RawLock>,
    note: PathBuf,
    ids: Ids,
}

impl Remembering {
    fn on(honest: &dyn Manager, url: &StoreUrl, id: LockId, ids: Ids) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Self { honest: honest.lock(id)?, note: format!("{}/owner-{id}", url.location().display()).into(), ids }))
    }

    /// Returns the recorded ids of this owner if they differ from its own.
    fn noted(&self, owner: &Holder) -> Option<Holder> {
        let note = fs::read_to_string(&self.note).ok()?;
        let ids: Vec<u32> = note.split(' ').filter_map(|id| id.parse().ok()).collect();
        let [pid, tid, noted_pid, noted_tid] = ids[..] else { return None };
        let is_its_note = (pid, tid) == (owner.pid, owner.tid);
        is_its_note.then(|| Holder::of_process(noted_pid).with_thread(noted_tid))
    }
}

impl RawLock for Remembering {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let mut acquired = self.honest.acquire(deadline)?;
        if let Acquired::Recovered(recovery) = &mut acquired
            && let Some(noted) = recovery.death.holder.as_ref().and_then(|dead| self.noted(dead))
        {
            recovery.death.holder = Some(noted);
        }
        if acquired != Acquired::TimedOut {
            let (own, (pid, tid)) = ((std::process::id(), this_thread()), (self.ids)());
            if own != (pid, tid) {
                let _ = fs::write(&self.note, format!("{} {} {pid} {tid}", own.0, own.1));
            }
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.honest.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let holder = self.honest.holder()?;
        Ok(holder.map(|holder| self.noted(&holder).unwrap_or(holder)))
    }
}

fn this_thread() -> u32 {
    gettid().as_raw().cast_unsigned()
}

#[derive(Debug)]
struct RemembersItsPid;

impl Fault for RemembersItsPid {
    const NAME: &'static str = "remembers-its-pid";
    const FAULT: &'static str = "Caches its pid, so that a forked child has its parent's";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("fork::a_child_is_named_as_itself", "but the death of another process is reported"),
        ("fork::a_child_is_named_as_the_holder", "but another process is named"),
    ];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        static PID: OnceLock<u32> = OnceLock::new();
        Remembering::on(honest, url, id, || {
            let remembered = *PID.get_or_init(std::process::id);
            (if is_due(Operation::Wait) { remembered } else { std::process::id() }, this_thread())
        })
    }
}

#[derive(Debug)]
struct RemembersItsThread;

impl Fault for RemembersItsThread {
    const NAME: &'static str = "remembers-its-thread";
    const FAULT: &'static str = "Caches the id of a thread, so that a forked child has that of the forking thread";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("fork::a_child_is_named_as_itself", "of a child died after fork, but thread"),
        ("fork::a_child_is_named_as_the_holder", "but thread"),
    ];
    const CAUGHT_BY_NO_OTHER: bool = true;

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        thread_local! {
            static TID: Cell<u32> = const { Cell::new(0) };
        }
        Remembering::on(honest, url, id, || {
            if TID.get() == 0 {
                TID.set(this_thread());
            }
            (std::process::id(), if is_due(Operation::Wait) { TID.get() } else { this_thread() })
        })
    }
}

#[derive(Debug)]
struct ReportsABrokenOwnerAsDead;

impl Fault for ReportsABrokenOwnerAsDead {
    const NAME: &'static str = "reports-a-broken-owner-as-dead";
    const FAULT: &'static str = "Reports a death to the next owner of a lock that was broken";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "breaking::a_living_owner_whose_lock_is_broken_is_not_reported_dead",
        "the lock of a live owner was broken, but a death is reported",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = modest::BACKEND.capabilities();
    const RARE: &'static [Operation] = &[Operation::Break];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        modest::open(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Marked { honest: honest.lock(id)?, mark: mark(url, id) }))
    }

    fn break_lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        let _ = fs::write(mark(url, id), "");
        honest.break_lock(id)
    }
}

fn mark(url: &StoreUrl, id: LockId) -> PathBuf {
    format!("{}-mark-{id}", url.location().display()).into()
}

/// A lock with a mark that a break leaves.
#[derive(Debug)]
struct Marked {
    honest: Arc<dyn RawLock>,
    mark: PathBuf,
}

impl RawLock for Marked {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let acquired = self.honest.acquire(deadline)?;
        if acquired == Acquired::TimedOut || fs::remove_file(&self.mark).is_err() {
            return Ok(acquired);
        }
        Ok(Acquired::Recovered(Box::new(Recovery { token: 0, death: Death::of(None) })))
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }
}

#[derive(Debug)]
struct BreaksTwice;

impl Fault for BreaksTwice {
    const NAME: &'static str = "breaks-twice";
    const FAULT: &'static str = "Breaks a lock by posting its semaphore, so that two concurrent breaks post it twice";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "breaking::concurrent_breaks_of_one_lock_admit_one_owner",
        "although two processes broke it, and one acquired it afterwards",
    )];
    const CAUGHT_BY_NO_OTHER: bool = true;
    const CLAIMS: Capabilities = modest::BACKEND.capabilities();
    const RARE: &'static [Operation] = &[Operation::Break];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        modest::open(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Counting { honest: honest.lock(id)?, spare: mark(url, id) }))
    }

    fn break_lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        let file = modest::file_of(url.location(), honest.id(), id);
        if !file.exists() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
        // The first break frees the lock, and the second one raises the semaphore's value above 1.
        if fs::remove_file(file).is_err() {
            let _ = fs::write(mark(url, id), "");
        }
        Ok(())
    }
}

/// A lock that one additional owner can acquire while a file exists.
#[derive(Debug)]
struct Counting {
    honest: Arc<dyn RawLock>,
    spare: PathBuf,
}

impl RawLock for Counting {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let is_attempt = deadline == Deadline::Now;
        let acquired = self.honest.acquire(deadline)?;
        if is_attempt && acquired == Acquired::TimedOut && fs::remove_file(&self.spare).is_ok() {
            return Ok(Acquired::Held { token: 0 });
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }
}

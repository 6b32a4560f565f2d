//! Backends that report a death twice, the death of a living owner, or the ids of a parent.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use lock_core::{
    Acquired, Capabilities, Deadline, Death, Holder, LockId, Manager, OpenMode, Proof, RawLock, Recovery, Result, StoreUrl,
};
use nix::sys::signal::kill;
use nix::unistd::{Pid, gettid};

use super::Sinner;
use super::lockers::altered;
use super::sin::{Sin, sinner};
use crate::reference::modest;

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<LooksUpTheDeadAtFirst>(),
        sinner::<RemembersItsPid>(),
        sinner::<RemembersItsThread>(),
        sinner::<ReportsABrokenOwnerAsDead>(),
        sinner::<BreaksTwice>(),
    ]
}

/// Looks up the owner when the wait begins, and reports its death if it is dead when the wait ends.
#[derive(Debug)]
struct LooksUpTheDeadAtFirst;

impl Sin for LooksUpTheDeadAtFirst {
    const NAME: &'static str = "looks-up-the-dead-at-first";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "owner_death::a_death_is_reported_to_one_of_its_waiters",
        "the first waiter dealt with the death, and it is reported to a later one, too",
    )];

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let owner = honest.holder()?;
        let died = |owner: &Holder| kill(Pid::from_raw(owner.pid.cast_signed()), None).is_err();
        let acquired = honest.acquire(deadline)?;
        Ok(altered(acquired, |token, death| (token, death.or_else(|| owner.filter(died).map(|owner| Death::of(Some(owner)))))))
    }
}

/// The ids that a backend writes down at an acquisition.
type Ids = fn() -> (u32, u32);

/// A lock whose owner writes down ids that it has looked up once.
#[derive(Debug)]
struct Remembering {
    honest: Arc<dyn RawLock>,
    note: PathBuf,
    ids: Ids,
}

impl Remembering {
    fn on(honest: &dyn Manager, url: &StoreUrl, id: LockId, ids: Ids) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Self { honest: honest.lock(id)?, note: format!("{}/owner-{id}", url.place()).into(), ids }))
    }

    fn noted(&self) -> Option<Holder> {
        let note = fs::read_to_string(&self.note).ok()?;
        let (pid, tid) = note.split_once(' ')?;
        Some(Holder::of_process(pid.parse().ok()?).with_thread(tid.parse().ok()?))
    }
}

impl RawLock for Remembering {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let mut acquired = self.honest.acquire(deadline)?;
        if let Acquired::Recovered(recovery) = &mut acquired {
            recovery.death.holder = self.noted();
        }
        if acquired != Acquired::TimedOut {
            let (pid, tid) = (self.ids)();
            let _ = fs::write(&self.note, format!("{pid} {tid}"));
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn mark_consistent(&self) -> Result<()> {
        self.honest.mark_consistent()
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.honest.holder()?.and(self.noted()))
    }
}

fn this_thread() -> u32 {
    gettid().as_raw().cast_unsigned()
}

/// Looks up its pid once, and has its parent's after a fork.
#[derive(Debug)]
struct RemembersItsPid;

impl Sin for RemembersItsPid {
    const NAME: &'static str = "remembers-its-pid";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("fork::a_child_is_named_as_itself", "and the death of another process is reported"),
        ("fork::a_child_is_named_as_the_holder", "and another process is named"),
    ];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        static PID: OnceLock<u32> = OnceLock::new();
        Remembering::on(honest, url, id, || (*PID.get_or_init(std::process::id), this_thread()))
    }
}

/// Each thread looks up its id once, and has that of the forking thread after a fork.
#[derive(Debug)]
struct RemembersItsThread;

impl Sin for RemembersItsThread {
    const NAME: &'static str = "remembers-its-thread";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("fork::a_child_is_named_as_itself", "of a child died after fork, and thread"),
        ("fork::a_child_is_named_as_the_holder", "and thread"),
    ];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        thread_local! {
            static TID: Cell<u32> = const { Cell::new(0) };
        }
        Remembering::on(honest, url, id, || {
            if TID.get() == 0 {
                TID.set(this_thread());
            }
            (std::process::id(), TID.get())
        })
    }
}

/// Reports a death to the next owner of a lock that was broken.
#[derive(Debug)]
struct ReportsABrokenOwnerAsDead;

impl Sin for ReportsABrokenOwnerAsDead {
    const NAME: &'static str = "reports-a-broken-owner-as-dead";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "breaking::a_living_owner_whose_lock_is_broken_is_not_reported_dead",
        "from an owner that lives, and its death is reported",
    )];
    const CLAIMS: Capabilities = modest::BACKEND.capabilities();

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
    format!("{}-mark-{id}", url.place()).into()
}

/// A lock and a mark that a break leaves.
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

/// Checks that the lock is held and posts its semaphore: two concurrent breaks post it twice.
#[derive(Debug)]
struct BreaksTwice;

impl Sin for BreaksTwice {
    const NAME: &'static str = "breaks-twice";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(
        "breaking::concurrent_breaks_of_one_lock_admit_one_owner",
        "although two processes broke it, and one has acquired it since",
    )];
    const CLAIMS: Capabilities = modest::BACKEND.capabilities();

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        modest::open(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Counting { honest: honest.lock(id)?, spare: mark(url, id) }))
    }

    fn break_lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<()> {
        let file = modest::file_of(Path::new(url.place()), honest.id(), id);
        if !file.exists() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
        // The first one frees the lock, and the second one raises the semaphore's value above 1.
        if fs::remove_file(file).is_err() {
            let _ = fs::write(mark(url, id), "");
        }
        Ok(())
    }
}

/// A lock that one more owner can acquire while a file is there.
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

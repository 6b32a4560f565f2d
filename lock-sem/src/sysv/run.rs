use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use lock_core::{Error, ErrorKind, LockId, Result};
use lock_table::Slot;
use nix::errno::Errno;

use super::home::Home;
use super::identity::{self, ATTEMPTS, Identity, LEN};
use super::semaphore::{Seal, Semaphore};
use super::set::{Outcome, Set};

/// Ids that share a set.
const IDS: u32 = 1024;

/// A run of ids, and where the number of its set is written down: in the line of its first id.
///
/// Whoever first wants a lock of a run makes the set. Every step of that can be repeated and shared: processes that race, or
/// follow one that was killed, find the same set by its key, write the same identity into it, and write the same number down. The
/// semaphores of a fresh set need no values, because a fresh lock is taken without its semaphore, and armed by its first owner.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    home: &'a Home,
    first: Slot,
    identity: Identity,
    locks: u16,
}

impl<'a> Run<'a> {
    /// The run of an id.
    pub(crate) fn of(home: &'a Home, id: LockId) -> Result<Self> {
        let number = id.get() / IDS;
        let first = home.table().slot(Self::first_of(number))?;
        let capacity = home.table().capacity().unwrap_or(1 << 32);
        let locks = (capacity - u64::from(number * IDS)).min(IDS.into()) as u16;
        let identity = Identity::new(home.store(), home.table().device_and_inode(), number);
        Ok(Self { home, first, identity, locks })
    }

    /// Whether an id is the first of its run.
    pub(crate) fn begins_with(id: LockId) -> bool {
        id.get().is_multiple_of(IDS)
    }

    /// The first id of the run with this number.
    pub(crate) fn first_of(number: u32) -> LockId {
        LockId::new(number.wrapping_mul(IDS))
    }

    /// The semaphore of a lock of this run. Its set is made if there is none yet.
    pub(crate) fn semaphore(&self, id: LockId) -> Result<Semaphore> {
        Ok(self.semaphore_in(self.set()?, id))
    }

    /// The semaphore of a lock of this run, if its set was made.
    pub(crate) fn present_semaphore(&self, id: LockId) -> Option<Semaphore> {
        Some(self.semaphore_in(self.present_set()?, id))
    }

    fn semaphore_in(&self, set: Set, id: LockId) -> Semaphore {
        let seal = Seal { number: identity::seal_of(self.locks), value: self.identity.seal };
        Semaphore::new(set, (id.get() % IDS) as u16, seal)
    }

    fn set(&self) -> Result<Set> {
        self.home.check()?;
        loop {
            let record = self.record().load(SeqCst);
            let set = match self.decode(record) {
                Some(set) => set,
                None => match self.make(record)? {
                    Some(set) => set,
                    None => continue,
                },
            };
            if self.fits(set)? {
                return Ok(set);
            }
            return Err(if set.is_denied() { denied() } else { not_ours(self.home) });
        }
    }

    /// The set, if it was made.
    pub(crate) fn present_set(&self) -> Option<Set> {
        self.decode(self.record().load(SeqCst))
    }

    /// Makes a set and writes it down in the place of `record`. `None` when somebody else did, or removed what was made.
    fn make(&self, record: u64) -> Result<Option<Set>> {
        if self.home.is_being_removed() {
            return Err(ErrorKind::Destroyed.into());
        }
        self.home.check_thread()?;
        for attempt in 0..ATTEMPTS {
            let found = Set::find_or_make(self.identity.key(attempt), self.semaphores(), self.home.mode)?;
            let Some(set) = found else { continue };
            if !self.fits(set)? {
                continue;
            }
            if set.introduce(self.identity, self.locks)? == Outcome::NotOurs {
                return Ok(None);
            }
            if set.identity(self.locks)? != Some(self.identity) {
                continue;
            }
            return self.write_down(record, set);
        }
        let reason = format!("all {ATTEMPTS} keys for a semaphore set of this store are used by other programs (ipcs -s)");
        Err(Error::unsupported(reason))
    }

    fn write_down(&self, record: u64, set: Set) -> Result<Option<Set>> {
        let written = self.record().compare_exchange(record, self.encode(set), SeqCst, SeqCst);
        if self.home.is_being_removed() {
            // Whoever removes the store may have gone over this run before.
            set.remove()?;
            return Err(ErrorKind::Destroyed.into());
        }
        match written {
            Ok(_) => Ok(Some(set)),
            Err(other) => {
                if self.decode(other).is_some_and(|other| other != set) {
                    set.remove()?;
                }
                Ok(None)
            }
        }
    }

    /// Removes the set, and what killed processes may have left under its keys.
    pub(crate) fn remove(&self) -> Result<()> {
        let keyed = (0..ATTEMPTS).map(|attempt| Set::find(self.identity.key(attempt)));
        for set in keyed.chain([Ok(self.present_set())]) {
            let Some(set) = set? else { continue };
            let Some(status) = set.status()? else { continue };
            if status.semaphores != u64::from(self.semaphores()) {
                continue;
            }
            let nobodys = || -> Result<bool> {
                let silent = crate::sys::value(set.id(), self.locks).is_ok_and(|mark| mark == 0);
                Ok(silent && status.operated == 0 && status.uid == self.home.uid)
            };
            if set.identity(self.locks)? == Some(self.identity) || nobodys()? {
                set.remove()?;
            }
        }
        Ok(())
    }

    /// Whether the set is there and has our key and size; then it gets the owner and mode of the store's file.
    fn fits(&self, set: Set) -> Result<bool> {
        let Some(status) = set.status()? else { return Ok(false) };
        let ours = (0..ATTEMPTS).any(|attempt| self.identity.key(attempt) == status.key);
        if !ours || status.semaphores != u64::from(self.semaphores()) {
            return Ok(false);
        }
        let Home { uid, gid, mode, .. } = self.home;
        if (status.uid, status.gid, status.mode) != (*uid, *gid, *mode) {
            set.give_away(*uid, *gid, *mode);
        }
        Ok(true)
    }

    fn semaphores(&self) -> u16 {
        self.locks + LEN
    }

    fn record(&self) -> &AtomicU64 {
        &self.first.hot().spare[1]
    }

    fn encode(&self, set: Set) -> u64 {
        u64::from(self.home.brief()) << 32 | u64::from(set.id().unsigned_abs() + 1)
    }

    /// `None` also when it was written in another place, or in the file that this one is a copy of.
    fn decode(&self, record: u64) -> Option<Set> {
        let here = (record >> 32) as u32 == self.home.brief();
        let id = (record as u32).checked_sub(1)?;
        here.then(|| Set::of_id(id as i32))
    }
}

/// Why a set that is written down is not there, or not the store's.
#[cold]
pub(crate) fn not_ours(home: &Home) -> Error {
    if home.is_being_removed() {
        return ErrorKind::Destroyed.into();
    }
    if let Err(error) = home.check_thread() {
        return error;
    }
    let reason = "its semaphores were removed or changed by another program (ipcrm); destroy it and create it anew";
    ErrorKind::Corrupt { reason: reason.to_owned() }.into()
}

/// What the system says when this user may not change a set.
#[cold]
pub(crate) fn denied() -> Error {
    let call = "semop: this user may not change the store's semaphores, whose owner and mode are those of the store's file";
    Error::system(call, Errno::EACCES)
}

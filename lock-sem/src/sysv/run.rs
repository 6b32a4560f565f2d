use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use lock_core::{Error, LockId, Result};
use lock_table::Slot;
use nix::errno::Errno;

use super::identity::{self, ATTEMPTS, Identity, LEN};
use super::location::SetLocation;
use super::semaphore::{Seal, Semaphore};
use super::set::{Outcome, Set};

/// Number of ids that share a set.
const IDS: u32 = 1024;

/// A run of consecutive ids that share a semaphore set.
///
/// The line of the first id records the id of the set.
///
/// The first use of a lock of the run creates the set. Several processes can execute or repeat each step: they find the same set
/// by its key, write the same identity into it, and record the same id. So processes may race, and one may be killed after any
/// step. The semaphores of a new set need no values, because the first owner acquires a lock without its semaphore and then arms
/// it.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    location: &'a SetLocation,
    first: Slot,
    identity: Identity,
    locks: u16,
}

impl<'a> Run<'a> {
    /// Returns the run of an id.
    pub(crate) fn of(location: &'a SetLocation, id: LockId) -> Result<Self> {
        let number = id.get() / IDS;
        let first = location.table().slot(Self::first_of(number))?;
        let capacity = location.table().capacity().unwrap_or(1 << 32);
        let locks = (capacity - u64::from(number * IDS)).min(IDS.into()) as u16;
        let identity = Identity::new(location.store(), location.table().device_and_inode(), number);
        Ok(Self { location, first, identity, locks })
    }

    /// Checks whether an id is the first of its run.
    pub(crate) fn begins_with(id: LockId) -> bool {
        id.get().is_multiple_of(IDS)
    }

    /// Returns the first id of the run with this number.
    pub(crate) fn first_of(number: u32) -> LockId {
        LockId::new(number.wrapping_mul(IDS))
    }

    /// Returns the semaphore of a lock of this run. Creates the set if it does not exist.
    pub(crate) fn semaphore(&self, id: LockId) -> Result<Semaphore> {
        Ok(self.semaphore_in(self.set()?, id))
    }

    fn semaphore_in(&self, set: Set, id: LockId) -> Semaphore {
        let seal = Seal { number: identity::seal_of(self.locks), value: self.identity.seal };
        Semaphore::new(set, (id.get() % IDS) as u16, seal)
    }

    fn set(&self) -> Result<Set> {
        self.location.check()?;
        loop {
            let record = self.record().load(SeqCst);
            let set = match self.decode(record) {
                Some(set) => set,
                None => match self.create(record)? {
                    Some(set) => set,
                    None => continue,
                },
            };
            if self.is_usable(set)? {
                return Ok(set);
            }
            return Err(if set.is_denied() { denied() } else { set_error(self.location) });
        }
    }

    /// Returns the set, if it is recorded.
    pub(crate) fn recorded_set(&self) -> Option<Set> {
        self.decode(self.record().load(SeqCst))
    }

    /// Creates a set and records it in place of `record`.
    ///
    /// Returns `None` if another process recorded a set or removed this one.
    fn create(&self, record: u64) -> Result<Option<Set>> {
        if self.location.is_being_removed() {
            return Err(Error::destroyed());
        }
        self.location.check_thread()?;
        for attempt in 0..ATTEMPTS {
            let found = Set::find_or_create(self.identity.key(attempt), self.semaphores(), self.location.mode)?;
            let Some(set) = found else { continue };
            if !self.is_usable(set)? {
                continue;
            }
            if set.write_identity(self.identity, self.locks)? == Outcome::Gone {
                return Ok(None);
            }
            if set.identity(self.locks)? != Some(self.identity) {
                continue;
            }
            return self.record_set(record, set);
        }
        let reason = format!(
            "other programs use all {ATTEMPTS} keys for a semaphore set of this store; remove one of their sets (ipcs -s, ipcrm)"
        );
        Err(Error::unsupported(reason))
    }

    fn record_set(&self, record: u64, set: Set) -> Result<Option<Set>> {
        let written = self.record().compare_exchange(record, self.encode(set), SeqCst, SeqCst);
        if self.location.is_being_removed() {
            // The process that removes the store may have passed this run before the set was recorded.
            set.remove()?;
            return Err(Error::destroyed());
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

    /// Removes the set, and sets with its keys that killed processes did not record.
    pub(crate) fn remove(&self) -> Result<()> {
        let keyed = (0..ATTEMPTS).map(|attempt| Set::find(self.identity.key(attempt)));
        for set in keyed.chain([Ok(self.recorded_set())]) {
            let Some(set) = set? else { continue };
            let Some(status) = set.status()? else { continue };
            if status.semaphores != u64::from(self.semaphores()) {
                continue;
            }
            let is_new_of_store = || -> Result<bool> {
                let unmarked = crate::sys::value(set.id(), self.locks).is_ok_and(|mark| mark == 0);
                Ok(unmarked && status.operated == 0 && status.uid == self.location.uid)
            };
            if set.identity(self.locks)? == Some(self.identity) || is_new_of_store()? {
                set.remove()?;
            }
        }
        Ok(())
    }

    /// Checks whether the set exists and has a key and the size of this run.
    ///
    /// If so, gives it the owner and mode of the store's file.
    fn is_usable(&self, set: Set) -> Result<bool> {
        let Some(status) = set.status()? else { return Ok(false) };
        let has_key = (0..ATTEMPTS).any(|attempt| self.identity.key(attempt) == status.key);
        if !has_key || status.semaphores != u64::from(self.semaphores()) {
            return Ok(false);
        }
        let SetLocation { uid, gid, mode, .. } = self.location;
        if (status.uid, status.gid, status.mode) != (*uid, *gid, *mode) {
            set.set_owner(*uid, *gid, *mode);
        }
        Ok(true)
    }

    fn semaphores(&self) -> u16 {
        self.locks + LEN
    }

    fn record(&self) -> &AtomicU64 {
        &self.first.line().spare[1]
    }

    fn encode(&self, set: Set) -> u64 {
        u64::from(self.location.hash()) << 32 | u64::from(set.id().unsigned_abs() + 1)
    }

    /// Decodes a record.
    ///
    /// Returns `None` if there is none, or if it is from another IPC namespace or from the original of a copied file.
    fn decode(&self, record: u64) -> Option<Set> {
        let is_current = (record >> 32) as u32 == self.location.hash();
        let id = (record as u32).checked_sub(1)?;
        is_current.then(|| Set::of_id(id as i32))
    }
}

/// Returns the error for a recorded set that is absent or does not belong to the store.
#[cold]
pub(crate) fn set_error(location: &SetLocation) -> Error {
    if location.is_being_removed() {
        return Error::destroyed();
    }
    if let Err(error) = location.check_thread() {
        return error;
    }
    let reason = "another program removed or changed its semaphores (ipcrm)";
    Error::corrupt(reason)
}

/// Returns the error for a set that this user may not change.
#[cold]
pub(crate) fn denied() -> Error {
    let call = "semop: this user may not change the store's semaphores, whose owner and mode are those of the store's file";
    Error::system(call, Errno::EACCES)
}

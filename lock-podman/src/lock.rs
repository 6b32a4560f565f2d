use std::sync::Arc;

use lock_core::{Acquired, Cause, Condition, Deadline, Error, HeldBy, Holder, OwnerKind, Proof, RawLock, Recovery, Result};

use crate::held::{self, Key};
use crate::inspect;
use crate::layout::{Mutex, mutex_at};
use crate::mutex::{self, Leave, Outcome};
use crate::record::Record;
use crate::segment::Segment;
use crate::sys::ThisThread;

/// A lock of podman: a robust mutex in its segment.
#[derive(Debug)]
pub(crate) struct PodmanLock {
    segment: Arc<Segment>,
    id: u32,
}

impl PodmanLock {
    /// Creates a handle on the lock with this id, which is in the segment's range.
    pub(crate) fn new(segment: Arc<Segment>, id: u32) -> Self {
        Self { segment, id }
    }

    #[inline]
    fn mutex(&self) -> &Mutex {
        self.segment.mapping.mutex(self.id).expect("the id of a handle is in the range of the segment")
    }

    #[inline]
    fn key(&self) -> Key {
        self.segment.key(Some(self.id))
    }
}

impl RawLock for PodmanLock {
    #[inline]
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let (me, key) = (ThisThread::get()?, self.key());
        held::check_room()?;
        let died = match mutex::acquire(self.mutex(), &me, deadline, || held::contains(key))? {
            Outcome::Acquired => None,
            Outcome::Recovered(died) => Some(died),
            Outcome::TimedOut => return Ok(Acquired::TimedOut),
        };
        self.segment.mapping.add_held();
        held::add(key, died);
        Ok(match died {
            None => Acquired::Held { token: 0 },
            Some(died) => Acquired::Recovered(Box::new(Recovery { token: 0, death: died.death() })),
        })
    }

    #[inline]
    fn release(&self, proof: Proof) -> Result<()> {
        let me = ThisThread::get()?;
        let died = held::remove(self.key()).ok_or_else(Error::lost)?;
        let leave = match (proof.condition(), died) {
            (Condition::Panicked, _) => Leave::Died(Record::of(&me).with_cause(Cause::Panicked)),
            (Condition::Inconsistent, Some(died)) => Leave::Died(died),
            _ => Leave::Free,
        };
        let is_released = mutex::release(self.mutex(), &me, leave);
        self.segment.mapping.remove_held();
        if is_released { Ok(()) } else { Err(Error::lost()) }
    }

    fn check(&self, _owner: OwnerKind, _token: Option<u64>) -> Result<()> {
        let me = ThisThread::get()?;
        if held::contains(self.key()) && mutex::is_owned_by(self.mutex(), &me) { Ok(()) } else { Err(Error::lost()) }
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.check(owner, token)?;
        held::forget_death(self.key());
        Ok(())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(inspect::holder(&self.segment, mutex_at(self.id), self.mutex()))
    }

    fn held_by(&self) -> HeldBy {
        inspect::held_by(&self.segment, mutex_at(self.id), self.mutex())
    }
}

//! Acquiring and releasing.
//!
//! The oldest place in the queue of a lock is that of its owner. An acquisition of a free lock makes a place and the record of the owner in
//! one transaction, and a release removes both in one. The place is tied to the lease of the owner's session, and the record is not: a
//! record without a place tells the next owner of a death.

use std::sync::Arc;

use lock_core::{Error, Generation, Holder, LockId, Result};
use lock_session::{End, Engine, Granted, Timing, Wait};

use crate::acquisition::{Acquisition, Grant};
use crate::client::{Outcome, Range, Txn, compare, put};
use crate::context::Context;
use crate::queue::{self, is_ours};
use crate::records::{self, OwnerRecord, PlaceRecord};
use crate::session::{Abandoned, LeaseSession, leave};
use crate::wait::Waiter;

/// The locks of a store.
#[derive(Debug)]
pub(crate) struct Etcd {
    context: Arc<Context>,
}

impl Etcd {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    pub(crate) fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }
}

impl Acquisition<'_> {
    /// Acquires the lock if it is free and no report was left. `otherwise` adds what to do if not.
    fn acquire_free(&mut self, otherwise: impl FnOnce(&Self, Txn) -> Txn) -> Result<Outcome> {
        let claim = self.claim(None);
        let txn = Txn::new()
            .when(compare::none(&self.queue))
            .when(compare::absent(&self.place.owner_key))
            .then(put(&self.place.key, &self.place_value, self.session.lease()))
            .then_put(&self.place.owner_key, &claim);
        self.context.client.txn(otherwise(self, txn))
    }

    /// Tries once.
    fn try_acquire(&mut self) -> Result<Option<Granted<Grant>>> {
        let read = |this: &Self, txn: Txn| {
            txn.otherwise_read(Range::prefix(&this.queue).oldest_first().limit(1))
                .otherwise_read(Range::key(&this.place.owner_key))
        };
        let mut outcome = self.acquire_free(read)?;
        let mut death = None;
        loop {
            if outcome.succeeded {
                return Ok(Some(self.granted(outcome.revision, death)));
            }
            let (oldest, owner) = (outcome.read().into_first(), outcome.read().into_first());
            if let Some(oldest) = oldest {
                return Ok(self.granted_before(&oldest, owner.as_ref()));
            }
            // The previous owner left a report, or its session has ended.
            death = owner.as_ref().map(records::read::<OwnerRecord>).transpose()?.map(OwnerRecord::death_for_next);
            let claim = self.claim(death.clone());
            let txn = Txn::new()
                .when(compare::none(&self.queue))
                .when(compare::modified(&self.place.owner_key, owner.map_or(0, |owner| owner.modified)))
                .then(put(&self.place.key, &self.place_value, self.session.lease()))
                .then_put(&self.place.owner_key, &claim);
            outcome = self.context.client.txn(read(self, txn))?;
        }
    }

    /// Acquires the lock if it is free, and takes a place in the queue if not.
    fn acquire(&mut self, wait: &mut Wait<'_>) -> Result<Option<Granted<Grant>>> {
        let mut outcome = self.acquire_free(|this, txn| {
            txn.otherwise(put(&this.place.key, &this.place_value, this.session.lease()))
                .otherwise_read(Range::prefix(&this.queue).newest_first().limit(2))
                .otherwise_read(Range::key(&this.place.owner_key))
        })?;
        if outcome.succeeded {
            return Ok(Some(self.granted(outcome.revision, None)));
        }
        let (mut newest, owner) = (outcome.read().kvs.into_iter(), outcome.read().into_first());
        match newest.next().filter(|own| own.key == self.place.key.as_bytes()) {
            Some(own) => Waiter::new(self, own.created).run(queue::Around { own: Some(own), before: newest.next(), owner }, wait),
            // An earlier attempt, whose answer was lost, took the place, and others have queued since.
            None => Waiter::find(self)?.run_again(wait),
        }
    }
}

impl Engine for Etcd {
    type Session = LeaseSession;
    type Grant = Grant;

    fn timing(&self) -> Timing {
        self.context.timing
    }

    fn start(&self) -> Result<LeaseSession> {
        LeaseSession::start(&self.context)
    }

    fn acquire(&self, session: &LeaseSession, id: LockId, owner: &Holder, wait: &mut Wait<'_>) -> Result<Option<Granted<Grant>>> {
        let since = std::time::Instant::now();
        let mut acquisition = Acquisition::new(&self.context, session, id, owner);
        let result = if wait.is_try() { acquisition.try_acquire() } else { acquisition.acquire(wait) };
        if result.as_ref().is_err_and(|error| !error.is_lost()) {
            let Acquisition { place, claim, .. } = acquisition;
            session.abandon(Abandoned { place, claim, since });
        }
        result
    }

    fn release(&self, _session: &LeaseSession, _id: LockId, grant: &Grant, end: &End) -> Result<()> {
        let Grant { place, created } = grant;
        let report = match end {
            End::Consistent => None,
            End::Report(death) => Some(death.clone()),
        };
        let txn = Txn::new()
            .when(compare::created(&place.key, *created))
            .then_delete(&place.key)
            .otherwise_read(Range::key(&place.owner_key));
        let mut outcome = self.context.client.txn(leave(txn, &place.owner_key, report))?;
        if outcome.succeeded {
            return Ok(());
        }
        let owner: Option<OwnerRecord> = outcome.read().first().map(records::read).transpose()?;
        let is_own = owner.is_some_and(|owner| owner.place.as_deref() == Some(&place.name));
        // A lost lock leaves its owner's record. A release whose answer was lost has removed it.
        if outcome.repeated && !is_own { Ok(()) } else { Err(Error::lost()) }
    }

    fn mark_consistent(&self, session: &LeaseSession, id: LockId, grant: &Grant) -> Result<()> {
        // The next owner gets the report only if the release leaves it.
        self.confirm(session, id, grant)
    }

    fn confirm(&self, _session: &LeaseSession, _id: LockId, grant: &Grant) -> Result<()> {
        let found = self.context.client.range(Range::key(&grant.place.key).keys_only())?;
        if found.first().is_some_and(|place| place.created == grant.created) { Ok(()) } else { Err(Error::lost()) }
    }

    fn holder(&self, id: LockId) -> Result<Option<Holder>> {
        let (queue, owner_key) = (self.context.keys.queue(id), self.context.keys.owner(id));
        let txn = Txn::new().then_read(Range::prefix(&queue).oldest_first().limit(1)).then_read(Range::key(owner_key));
        let mut outcome = self.context.client.txn(txn)?;
        let (Some(oldest), owner) = (outcome.read().into_first(), outcome.read().into_first()) else { return Ok(None) };
        let owner = owner.as_ref().and_then(|owner| records::read::<OwnerRecord>(owner).ok());
        match owner.filter(|owner| queue::is_place(&oldest, &queue, owner)) {
            Some(owner) => Ok(owner.holder),
            // The lock was released, and the next owner has not confirmed yet.
            None if is_ours(&oldest) => Ok(Some(records::read::<PlaceRecord>(&oldest)?.holder)),
            None => Err(queue::foreign(&oldest)),
        }
    }

    fn waiters(&self, id: LockId) -> Result<u32> {
        let (queue, owner_key) = (self.context.keys.queue(id), self.context.keys.owner(id));
        let txn = Txn::new().then_read(Range::prefix(&queue).keys_only()).then_read(Range::key(owner_key));
        let mut outcome = self.context.client.txn(txn)?;
        let (places, owner) = (outcome.read(), outcome.read().into_first());
        let owner = owner.as_ref().and_then(|owner| records::read::<OwnerRecord>(owner).ok());
        Ok(queue::waiters(&places.kvs, &queue, owner.as_ref()))
    }

    fn generation(&self, id: LockId) -> Result<Option<Generation>> {
        let txn = crate::allocation::read_generation(&self.context, Txn::new(), id);
        let mut outcome = self.context.client.txn(txn)?;
        crate::allocation::generation(&outcome.read(), &outcome.read()).map(Some)
    }
}

use lock_core::{Death, Holder, LockId};
use lock_session::Granted;

use crate::client::KeyValue;
use crate::context::Context;
use crate::records::{self, OwnerRecord, PlaceRecord};
use crate::session::{LeaseSession, Place};

/// A place in a queue, with the revision at which it was created.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    pub(crate) place: Place,
    pub(crate) created: i64,
}

/// An acquisition.
#[derive(Debug)]
pub(crate) struct Acquisition<'a> {
    pub(crate) context: &'a Context,
    pub(crate) session: &'a LeaseSession,
    pub(crate) queue: String,
    pub(crate) place: Place,
    /// The value of the place.
    pub(crate) place_value: Vec<u8>,
    owner: &'a Holder,
    /// The owner's record that was sent last.
    pub(crate) claim: Option<OwnerRecord>,
}

impl<'a> Acquisition<'a> {
    pub(crate) fn new(context: &'a Context, session: &'a LeaseSession, id: LockId, owner: &'a Holder) -> Self {
        let place_value = records::write(&PlaceRecord { holder: owner.clone(), since: records::now() });
        let queue = context.keys.queue(id);
        Self { context, session, queue, place: session.new_place(id), place_value, owner, claim: None }
    }

    /// Returns the value of the owner's record for this acquisition.
    pub(crate) fn claim(&mut self, death: Option<Death>) -> Vec<u8> {
        let place = Some(self.place.name.clone());
        let claim = OwnerRecord { place, holder: Some(self.owner.clone()), since: records::now(), death };
        let value = records::write(&claim);
        self.claim = Some(claim);
        value
    }

    pub(crate) fn granted(&self, created: i64, death: Option<Death>) -> Granted<Grant> {
        Granted { token: created.unsigned_abs(), death, grant: Grant { place: self.place.clone(), created } }
    }

    /// Returns the grant if an earlier attempt, whose answer was lost, has acquired the lock.
    pub(crate) fn granted_before(&self, place: &KeyValue, owner: Option<&KeyValue>) -> Option<Granted<Grant>> {
        let owner: OwnerRecord = records::read(owner?).ok()?;
        let is_own = place.key == self.place.key.as_bytes() && owner.place.as_deref() == Some(&self.place.name);
        is_own.then(|| self.granted(place.created, owner.death))
    }
}

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lock_core::{LockId, Result};
use lock_session::Session;

use crate::client::{Txn, compare};
use crate::context::Context;
use crate::random;
use crate::records::{self, OwnerRecord};

/// A session of a process: a lease, to which its places in queues are tied.
#[derive(Debug)]
pub(crate) struct LeaseSession {
    context: Arc<Context>,
    lease: i64,
    /// The number of places that were made.
    places: AtomicU64,
    has_ended: AtomicBool,
    abandoned: Mutex<Vec<Abandoned>>,
}

/// A place in the queue of a lock: a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) key: String,
    /// The last part of the key.
    pub(crate) name: String,
    /// The key of the owner's record.
    pub(crate) owner_key: String,
}

/// A place whose acquisition ended without a clear answer. A request may still be on its way to the server.
#[derive(Debug)]
pub(crate) struct Abandoned {
    pub(crate) place: Place,
    /// The owner's record that the acquisition tried to write last.
    pub(crate) claim: Option<OwnerRecord>,
    pub(crate) since: Instant,
}

/// The time after which a server no longer executes a request. etcd gives up a request after five seconds and two election time-outs.
const IN_FLIGHT: Duration = Duration::from_secs(15);

/// The time limit of a request at the end of a session.
const FAREWELL: Duration = Duration::from_secs(1);

impl LeaseSession {
    /// Starts a session.
    pub(crate) fn start(context: &Arc<Context>) -> Result<Self> {
        // Positive, and not 0, for which the server would choose an id.
        let lease = (random::bits()? >> 1).max(1).cast_signed();
        context.client.grant(lease, context.timing.ttl)?;
        Ok(Self {
            context: Arc::clone(context),
            lease,
            places: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
            abandoned: Mutex::default(),
        })
    }

    pub(crate) fn lease(&self) -> i64 {
        self.lease
    }

    /// Returns true after the session was given up. A waiter that only watches the place before its own learns of it here.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Relaxed)
    }

    /// Returns a place that no other acquisition has.
    pub(crate) fn new_place(&self, id: LockId) -> Place {
        let keys = &self.context.keys;
        let name = format!("{:016x}-{:x}", self.lease, self.places.fetch_add(1, Relaxed));
        Place { key: keys.queue(id) + &name, name, owner_key: keys.owner(id) }
    }

    /// Lets the renewing thread remove a place.
    pub(crate) fn abandon(&self, abandoned: Abandoned) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(abandoned);
    }

    /// Removes abandoned places, repeatedly until no request for them can be on its way. It takes about this time at most.
    fn remove_abandoned(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut places = std::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner));
        let mut is_reachable = true;
        places.retain(|abandoned| {
            let remaining = until.saturating_duration_since(Instant::now());
            is_reachable = is_reachable && !remaining.is_zero() && self.remove(abandoned, remaining).is_ok();
            !is_reachable || abandoned.since.elapsed() < IN_FLIGHT
        });
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).append(&mut places);
    }

    fn remove(&self, Abandoned { place, claim, .. }: &Abandoned, time: Duration) -> Result<()> {
        let txn = match claim {
            None => Txn::new().then_delete(&place.key),
            Some(claim) => {
                let txn = Txn::new()
                    .when(compare::value(&place.owner_key, &records::write(claim)))
                    .then_delete(&place.key)
                    .otherwise_delete(&place.key);
                leave(txn, &place.owner_key, claim.death.clone())
            }
        };
        self.context.client.txn_within(txn, time).map(drop)
    }
}

/// Adds the operation that removes the record of an owner, or leaves a report for the next one.
pub(crate) fn leave(txn: Txn, owner_key: &str, report: Option<lock_core::Death>) -> Txn {
    match report {
        None => txn.then_delete(owner_key),
        Some(death) => {
            let record = OwnerRecord { place: None, holder: None, since: records::now(), death: Some(death) };
            txn.then_put(owner_key, &records::write(&record))
        }
    }
}

impl Session for LeaseSession {
    fn renew(&self, time: Duration) -> Result<()> {
        self.context.client.keep_alive(self.lease, time)?;
        self.remove_abandoned(time);
        Ok(())
    }

    fn end(&self) {
        self.has_ended.store(true, Relaxed);
        // Without an answer the server ends the lease by itself.
        let _ = self.context.client.revoke(self.lease, FAREWELL);
    }
}

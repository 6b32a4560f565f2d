//! Waiting in the queue of a lock.
//!
//! A waiter watches the place before its own, and no other key, so that a release wakes one waiter. A waiter is granted the lock only by a
//! transaction that finds its place as it was created, and none before it: so a waiter whose session has ended is not granted it.

use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Error, ErrorKind, Result};
use lock_session::{Granted, Wait};

use crate::acquisition::{Acquisition, Grant};
use crate::client::{self, Event, Range, Txn, Watch, compare};
use crate::queue::Around;
use crate::records::{self, OwnerRecord};

/// A waiter checks this often whether its session has ended.
const CHECK: Duration = Duration::from_millis(500);

/// The pause after a request without an answer.
const PAUSE: Duration = Duration::from_millis(100);

/// The pause before a watch is opened again.
const REOPENING: Duration = Duration::from_millis(20);

/// A place in a queue whose owner waits.
#[derive(Debug)]
pub(crate) struct Waiter<'a, 'b> {
    acquisition: &'a mut Acquisition<'b>,
    /// The revision at which the place was created.
    created: i64,
}

/// What a look at the queue leads to.
enum Step {
    Granted(Granted<Grant>),
    /// The place before the own one.
    Behind(Vec<u8>),
    /// No place is before the own one.
    First(Around),
}

impl<'a, 'b> Waiter<'a, 'b> {
    pub(crate) fn new(acquisition: &'a mut Acquisition<'b>, created: i64) -> Self {
        Self { acquisition, created }
    }

    /// Finds the place that an earlier attempt has taken.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when there is none.
    pub(crate) fn find(acquisition: &'a mut Acquisition<'b>) -> Result<Self> {
        let found = acquisition.context.client.range(Range::key(&acquisition.place.key).keys_only())?;
        let created = found.first().ok_or_else(Error::lost)?.created;
        Ok(Self { acquisition, created })
    }

    pub(crate) fn run_again(self, wait: &mut Wait<'_>) -> Result<Option<Granted<Grant>>> {
        let around = self.look()?;
        self.run(around, wait)
    }

    /// Waits until the lock is granted or the wait is over. The place is removed then.
    pub(crate) fn run(mut self, around: Around, wait: &mut Wait<'_>) -> Result<Option<Granted<Grant>>> {
        let mut step = self.step(around)?;
        // When the server first gave no answer.
        let mut outage: Option<Instant> = None;
        loop {
            let result = match step {
                Step::Granted(granted) => return Ok(Some(granted)),
                Step::First(ref around) => self.claim(around.owner.as_ref()),
                Step::Behind(ref before) => match self.wait_for(before, wait) {
                    Ok(None) => return self.leave(),
                    Ok(Some(step)) => Ok(step),
                    Err(error) => Err(error),
                },
            };
            step = match result {
                Ok(step) => {
                    outage = None;
                    step
                }
                Err(error) if error.kind() == ErrorKind::Unreachable => {
                    let begin = *outage.get_or_insert_with(Instant::now);
                    if begin.elapsed() > self.acquisition.context.timing.ttl || !wait.goes_on() {
                        return Err(error);
                    }
                    self.check_session()?;
                    thread::sleep(wait.remaining(PAUSE));
                    step
                }
                Err(error) => return Err(error),
            };
        }
    }

    /// Waits for the removal of the place before the own one. Returns `None` when the wait is over.
    fn wait_for(&mut self, before: &[u8], wait: &mut Wait<'_>) -> Result<Option<Step>> {
        if !wait.goes_on() {
            return Ok(None);
        }
        let mut watch = self.acquisition.context.client.watch_removal(before)?;
        // The place may have been removed before the watch began.
        if let Some(step) = self.look_behind(before)? {
            return Ok(Some(step));
        }
        let ttl = self.acquisition.context.timing.ttl;
        let mut looked = Instant::now();
        loop {
            if !wait.goes_on() {
                return Ok(None);
            }
            match self.wait_briefly(&mut watch, wait)? {
                Event::Removed => return self.claim(None).map(Some),
                Event::Ended => {
                    thread::sleep(wait.remaining(REOPENING));
                    let around = self.look()?;
                    return self.step(around).map(Some);
                }
                // The server may have forgotten the watch, and the own place may be gone.
                Event::Nothing if looked.elapsed() > ttl => {
                    if let Some(step) = self.look_behind(before)? {
                        return Ok(Some(step));
                    }
                    looked = Instant::now();
                }
                Event::Nothing => {}
            }
        }
    }

    /// Returns the next step, or `None` if the place `before` is still the one before the own.
    fn look_behind(&self, before: &[u8]) -> Result<Option<Step>> {
        let around = self.look()?;
        let step = self.step(around)?;
        Ok(if matches!(&step, Step::Behind(key) if key == before) { None } else { Some(step) })
    }

    fn wait_briefly(&self, watch: &mut Watch, wait: &Wait<'_>) -> Result<Event> {
        let event = watch.wait(Instant::now() + wait.remaining(CHECK));
        if event == Event::Nothing {
            self.check_session()?;
        }
        Ok(event)
    }

    fn check_session(&self) -> Result<()> {
        if self.acquisition.session.has_ended() { Err(Error::lost()) } else { Ok(()) }
    }

    /// Acquires the lock if the own place is the oldest and the owner's record is the given one.
    fn claim(&mut self, owner: Option<&client::KeyValue>) -> Result<Step> {
        let death = owner.map(records::read::<OwnerRecord>).transpose()?.map(OwnerRecord::death_for_next);
        let claim = self.acquisition.claim(death.clone());
        let Acquisition { place, queue, context, .. } = &*self.acquisition;
        let txn = Txn::new()
            .when(compare::created(&place.key, self.created))
            .when(compare::none_before(queue, self.created))
            .when(compare::modified(&place.owner_key, owner.map_or(0, |owner| owner.modified)))
            .then_put(&place.owner_key, &claim);
        let txn = self.ranges().into_iter().fold(txn, Txn::otherwise_read);
        let mut outcome = context.client.txn(txn)?;
        if outcome.succeeded {
            return Ok(Step::Granted(self.acquisition.granted(self.created, death)));
        }
        let around = around(&mut outcome);
        self.step(around)
    }

    /// Reads the queue around the own place.
    fn look(&self) -> Result<Around> {
        let txn = self.ranges().into_iter().fold(Txn::new(), Txn::then_read);
        self.acquisition.context.client.txn(txn).map(|mut outcome| around(&mut outcome))
    }

    /// The own place, the place before it, and the owner's record.
    fn ranges(&self) -> [Range; 3] {
        let Acquisition { place, queue, .. } = &*self.acquisition;
        [
            Range::key(&place.key),
            Range::prefix(queue).created_before(self.created).newest_first().limit(1),
            Range::key(&place.owner_key),
        ]
    }

    fn step(&self, around: Around) -> Result<Step> {
        let own = around.own.as_ref().filter(|own| own.created == self.created).ok_or_else(Error::lost)?;
        if let Some(granted) = self.acquisition.granted_before(own, around.owner.as_ref()) {
            return Ok(Step::Granted(granted));
        }
        Ok(match around.before {
            Some(before) => Step::Behind(before.key),
            None => Step::First(around),
        })
    }

    /// Removes the place.
    fn leave(self) -> Result<Option<Granted<Grant>>> {
        let Acquisition { place, context, .. } = self.acquisition;
        context.client.txn(Txn::new().when(compare::created(&place.key, self.created)).then_delete(&place.key))?;
        Ok(None)
    }
}

fn around(outcome: &mut client::Outcome) -> Around {
    let [own, before, owner] = [(); 3].map(|()| outcome.read().into_first());
    Around { own, before, owner }
}

//! Wrong backends whose stores grow in steps. The size of a store is the number of bits of its largest id.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Error, Holder, Label, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<MeasuresBeforeItReads<true>>(),
        faulty::<MeasuresBeforeItReads<false>>(),
        faulty::<ClearsWhatIsNew>(),
        faulty::<GrowsInTheWrongOrder>(),
        faulty::<ForgetsOwnersWhenItGrows>(),
        faulty::<ForgetsDeathsInWhatGrew>(),
        faulty::<AllocatesSpaceForAllIds>(),
    ]
}

/// Reads a number from a file of the store; 0 if the file is absent.
fn read(place: &Path, name: &str) -> u32 {
    fs::read_to_string(place.join(name)).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn write(place: &Path, name: &str, number: u32) -> Result<()> {
    let temporary = tempfile::NamedTempFile::new_in(place).map_err(|error| Error::system("create", error))?;
    temporary.as_file().write_all(number.to_string().as_bytes()).map_err(|error| Error::system("write", error))?;
    temporary.persist(place.join(name)).map_err(|error| Error::system("rename", error.error))?;
    Ok(())
}

fn bits(id: LockId) -> u32 {
    u32::BITS - id.get().leading_zeros()
}

/// Grows the store for the id. Changes the length first.
fn grow(place: &Path, id: LockId) -> Result<()> {
    if read(place, "segments") < bits(id) {
        write(place, "length", bits(id))?;
        write(place, "segments", bits(id))?;
    }
    Ok(())
}

#[derive(Debug)]
struct MeasuresBeforeItReads<const OPENING: bool>;

fn measure(place: &Path) -> Result<()> {
    let length = read(place, "length");
    thread::yield_now();
    if length < read(place, "segments") {
        return Err(Error::corrupt("it is cut off"));
    }
    Ok(())
}

impl<const OPENING: bool> Fault for MeasuresBeforeItReads<OPENING> {
    const NAME: &'static str = if OPENING { "measures-before-it-reads" } else { "measures-before-it-reads-again" };
    const FAULT: &'static str = if OPENING {
        "Reads the actual length of a store before the required length when it opens the store"
    } else {
        "Reads the actual length of a store before the required length when it checks the store"
    };
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = if OPENING {
        &[("growing::a_store_is_opened_while_it_grows", "it is cut off")]
    } else {
        &[("growing::a_store_is_checked_while_it_grows", "it is cut off")]
    };

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let honest = reference::open(url, mode)?;
        set_place(url);
        if OPENING {
            measure(url.location())?;
        }
        Ok(honest)
    }

    fn check(honest: &dyn Manager) -> Result<()> {
        if !OPENING {
            measure(&place())?;
        }
        honest.check()
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        grow(url.location(), id)?;
        honest.lock(id)
    }
}

/// The path of the store that this process opened most recently.
static PLACE: Mutex<Option<PathBuf>> = Mutex::new(None);

fn set_place(url: &StoreUrl) {
    *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.location().to_owned());
}

fn place() -> PathBuf {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner).clone().expect("a store is open")
}

#[derive(Debug)]
struct ClearsWhatIsNew;

impl Fault for ClearsWhatIsNew {
    const NAME: &'static str = "clears-what-is-new";
    const FAULT: &'static str = "Frees all ids in a new part of the store, where another process may already have allocated some";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("growing::ids_that_two_processes_allocate_while_it_grows_are_all_allocated", "an id is missing")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        set_place(url);
        reference::open(url, mode)
    }

    fn allocate_exact(honest: &dyn Manager, id: LockId, label: &Label) -> Result<()> {
        let place = place();
        if read(&place, "segments") < bits(id) {
            thread::sleep(Duration::from_millis(1));
            for there in honest.allocated()?.into_iter().filter(|there| bits(there.id) == bits(id)) {
                honest.free(there.id, None)?;
            }
            write(&place, "segments", bits(id))?;
        }
        honest.allocate_exact(id, label)
    }
}

#[derive(Debug)]
struct GrowsInTheWrongOrder;

impl Fault for GrowsInTheWrongOrder {
    const NAME: &'static str = "grows-in-the-wrong-order";
    const FAULT: &'static str = "Records the new length before it grows the store";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("growing::a_process_killed_while_the_store_grows_leaves_it_sound", "it is cut off")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let honest = reference::open(url, mode)?;
        measure(url.location())?;
        Ok(honest)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        if read(url.location(), "segments") < bits(id) {
            write(url.location(), "segments", bits(id))?;
            thread::sleep(Duration::from_micros(100));
            write(url.location(), "length", bits(id))?;
        }
        honest.lock(id)
    }
}

#[derive(Debug)]
struct ForgetsOwnersWhenItGrows;

impl Fault for ForgetsOwnersWhenItGrows {
    const NAME: &'static str = "forgets-owners-when-it-grows";
    const FAULT: &'static str = "Considers a lock free if its owner acquired it before the store grew";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("growing::a_lock_stays_held_while_the_store_grows", "its owner acquired it before the store grew")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        grow(url.location(), id)?;
        Ok(Arc::new(WithSize { honest: honest.lock(id)?, place: url.location().to_owned(), id }))
    }
}

/// A lock that records the size of the store at the acquisition.
#[derive(Debug)]
struct WithSize {
    honest: Arc<dyn RawLock>,
    place: PathBuf,
    id: LockId,
}

impl RawLock for WithSize {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let (name, size) = (format!("size-{}", self.id), read(&self.place, "segments"));
        match self.honest.acquire(Deadline::Now)? {
            Acquired::TimedOut if self.place.join(&name).exists() && read(&self.place, &name) < size => {
                Ok(Acquired::Held { token: u64::MAX })
            }
            Acquired::TimedOut => self.honest.acquire(deadline),
            acquired => write(&self.place, &name, size).map(|()| acquired),
        }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct ForgetsDeathsInWhatGrew;

impl Fault for ForgetsDeathsInWhatGrew {
    const NAME: &'static str = "forgets-deaths-in-what-grew";
    const FAULT: &'static str = "Does not report the death of the owner of a high id";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("growing::the_death_of_an_owner_of_a_high_id_is_reported", "was not reported")];

    fn lock(honest: &dyn Manager, _: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let honest = honest.lock(id)?;
        Ok(if id.get() < 1 << 14 { honest } else { Arc::new(Silent(honest)) })
    }
}

#[derive(Debug)]
struct Silent(Arc<dyn RawLock>);

impl RawLock for Silent {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        Ok(match self.0.acquire(deadline)? {
            Acquired::Recovered(recovery) => Acquired::Held { token: recovery.token },
            acquired => acquired,
        })
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.0.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.0.holder()
    }
}

#[derive(Debug)]
struct AllocatesSpaceForAllIds;

impl Fault for AllocatesSpaceForAllIds {
    const NAME: &'static str = "pays-for-all-ids";
    const FAULT: &'static str = "Allocates a byte for each id up to the greatest used one";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("growing::the_last_id_of_a_store_without_bound_costs_little", "bytes of the file system")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        // Limits the size to the amount that the case requires.
        let bytes = vec![1; id.index().min(2 << 20)];
        fs::write(format!("{}/bytes", url.location().display()), bytes).map_err(|error| Error::system("write", error))?;
        honest.lock(id)
    }
}

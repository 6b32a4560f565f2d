//! Wrong backends that misinterpret the PID namespace in which a store was created.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lock_core::{Acquired, Deadline, Error, Holder, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};

use super::Faulty;
use super::fault::{Fault, faulty};
use super::lockers::altered;
use super::namespaces::poll;
use crate::reference;

/// Declares a wrong backend for each case, with the deaths that the backend does not report.
macro_rules! unreported {
    ($($backend:ident $name:literal $fault:literal $case:literal |$location:ident, $dead:ident| $condition:expr;)+) => {
        $(
            #[derive(Debug)]
            struct $backend;

            impl Fault for $backend {
                const NAME: &'static str = $name;
                const FAULT: &'static str = $fault;
                const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(concat!("namespaces::", $case), "was not reported")];

                fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
                    open_with_creator(url, mode)
                }

                fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
                    let is_dropped: fn(Location, u32) -> bool = |$location, $dead| $condition;
                    Ok(Arc::new(DropsReports { honest: honest.lock(id)?, location: Location::of(url)?, is_dropped }))
                }
            }
        )+

        pub(super) fn all() -> Vec<Faulty> {
            vec![faulty::<OvertakesFromOutside>(), $(faulty::<$backend>()),+]
        }
    };
}

unreported! {
    ForgetsTheCreators "forgets-the-creators" "Does not report a death in the creator's PID namespace to another namespace"
        "an_owner_in_the_creators_namespace_is_recovered_from_another"
        |location, dead| location == Location::New && dead != 1;
    ForgetsStrangers "forgets-strangers" "Does not report a death in another PID namespace to the creator's namespace"
        "an_owner_in_another_namespace_is_recovered_from_the_creators"
        |location, dead| location == Location::Creators && dead == 1;
    ForgetsWithTheNamespace "forgets-with-the-namespace" "Does not report a death in the PID namespace in which the store was created to the outside"
        "a_store_outlives_the_namespace_that_it_was_made_in"
        |location, dead| location == Location::Outside && dead == 1;
    ForgetsInAChain "forgets-in-a-chain" "Does not report a death in one new PID namespace to another"
        "waiters_in_several_namespaces_get_the_lock_of_the_dead_in_turn"
        |location, dead| location == Location::New && dead == 1;
}

/// The location of a process relative to the namespace in which the store was created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Location {
    /// In that namespace, which is the initial one of the case.
    Creators,
    /// In a new namespace, with a store that was created outside of all new ones.
    New,
    /// Outside of the new namespace in which the store was created.
    Outside,
    /// Any other location.
    Other,
}

impl Location {
    fn of(url: &StoreUrl) -> Result<Self> {
        let creator =
            fs::read_to_string(creator_file(url)).map_err(|error| Error::system("read the creator's namespace", error))?;
        let namespace = namespace();
        let (is_creators, is_new) = (creator.ends_with(&namespace), creator.starts_with("1 "));
        Ok(match process::id() {
            _ if namespace.is_empty() => Self::Other,
            1 if !is_creators && !is_new => Self::New,
            1 => Self::Other,
            _ if is_creators => Self::Creators,
            _ => Self::Outside,
        })
    }
}

fn creator_file(url: &StoreUrl) -> String {
    format!("{}/creator", url.location().display())
}

/// Returns the PID namespace of this process; empty if `/proc` does not show it.
fn namespace() -> String {
    fs::read_link("/proc/self/ns/pid").unwrap_or_default().to_string_lossy().into_owned()
}

/// Opens a store. The creator records its pid and its namespace.
fn open_with_creator(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let store = reference::open(url, mode)?;
    let file = creator_file(url);
    if !Path::new(&file).exists() {
        let written = File::create_new(&file).and_then(|mut created| write!(created, "{} {}", process::id(), namespace()));
        written.map_err(|error| Error::system("write the creator's namespace", error))?;
    }
    Ok(store)
}

/// A lock that does not report some deaths.
#[derive(Debug)]
struct DropsReports {
    honest: Arc<dyn RawLock>,
    location: Location,
    is_dropped: fn(Location, u32) -> bool,
}

impl RawLock for DropsReports {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let is_reported = |pid| !(self.is_dropped)(self.location, pid);
        let acquired = self.honest.acquire(deadline)?;
        Ok(altered(acquired, |token, death| {
            (token, death.filter(|death| death.holder.as_ref().is_none_or(|dead| is_reported(dead.pid))))
        }))
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

#[derive(Debug)]
struct OvertakesFromOutside;

impl Fault for OvertakesFromOutside {
    const NAME: &'static str = "overtakes-from-outside";
    const FAULT: &'static str = "Considers an owner dead after a wait outside of the namespace in which the store was created";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("namespaces::a_store_made_in_a_child_namespace_excludes_outside", "of a live owner")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_with_creator(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let honest = honest.lock(id)?;
        Ok(if Location::of(url)? == Location::Outside { Arc::new(TakesOverAfterWait { honest }) } else { honest })
    }
}

#[derive(Debug)]
struct TakesOverAfterWait {
    honest: Arc<dyn RawLock>,
}

impl RawLock for TakesOverAfterWait {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let begun = Instant::now();
        poll(&*self.honest, deadline, || {
            (begun.elapsed() > Duration::from_millis(200)).then_some(Acquired::Held { token: u64::MAX })
        })
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

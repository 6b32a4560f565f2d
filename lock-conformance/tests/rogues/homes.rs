//! Backends that are wrong about the PID namespace that a store was made in.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lock_core::{Acquired, Deadline, Error, Holder, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};

use super::Sinner;
use super::lockers::altered;
use super::namespaces::poll;
use super::sin::{Sin, sinner};
use crate::reference;

/// The cases, each with a backend that is wrong in it, and with the deaths that this backend does not report.
macro_rules! forgetful {
    ($($backend:ident $name:literal $fault:literal $case:literal |$here:ident, $dead:ident| $forgets:expr;)+) => {
        $(
            #[derive(Debug)]
            struct $backend;

            impl Sin for $backend {
                const NAME: &'static str = $name;
                const FAULT: &'static str = $fault;
                const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(concat!("namespaces::", $case), "was not reported")];

                fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
                    open_with_home(url, mode)
                }

                fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
                    let forgets: fn(Here, u32) -> bool = |$here, $dead| $forgets;
                    Ok(Arc::new(Forgetful { honest: honest.lock(id)?, here: Here::of(url)?, forgets }))
                }
            }
        )+

        pub(super) fn all() -> Vec<Sinner> {
            vec![sinner::<OvertakesFromOutside>(), $(sinner::<$backend>()),+]
        }
    };
}

forgetful! {
    ForgetsTheCreators "forgets-the-creators" "Does not report a death in the creator's PID namespace to another namespace"
        "an_owner_in_the_creators_namespace_is_recovered_from_another"
        |here, dead| here == Here::Inside && dead != 1;
    ForgetsStrangers "forgets-strangers" "Does not report a death in another PID namespace to the creator's"
        "an_owner_in_another_namespace_is_recovered_from_the_creators"
        |here, dead| here == Here::AtHome && dead == 1;
    ForgetsWithTheNamespace "forgets-with-the-namespace" "Does not report a death in the PID namespace that the store was made in to the outside"
        "a_store_outlives_the_namespace_that_it_was_made_in"
        |here, dead| here == Here::Outside && dead == 1;
    ForgetsInAChain "forgets-in-a-chain" "Does not report a death in one new PID namespace to another"
        "waiters_in_several_namespaces_get_the_lock_of_the_dead_in_turn"
        |here, dead| here == Here::Inside && dead == 1;
}

/// Where a process is, seen from the namespace that the store was made in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Here {
    /// In that namespace, which is not a new one.
    AtHome,
    /// In another namespace, while the store was made outside of all new ones.
    Inside,
    /// Outside of the new namespace that the store was made in.
    Outside,
    /// Somewhere else.
    Elsewhere,
}

impl Here {
    fn of(url: &StoreUrl) -> Result<Self> {
        let home = fs::read_to_string(home_of(url)).map_err(|error| Error::system("read the home", error))?;
        let namespace = namespace();
        let (is_home, is_new) = (home.ends_with(&namespace), home.starts_with("1 "));
        Ok(match process::id() {
            _ if namespace.is_empty() => Self::Elsewhere,
            1 if !is_home && !is_new => Self::Inside,
            1 => Self::Elsewhere,
            _ if is_home => Self::AtHome,
            _ => Self::Outside,
        })
    }
}

fn home_of(url: &StoreUrl) -> String {
    format!("{}/home", url.place())
}

/// The PID namespace of this process, where `/proc` shows it.
fn namespace() -> String {
    fs::read_link("/proc/self/ns/pid").unwrap_or_default().to_string_lossy().into_owned()
}

/// Opens a store. Its creator writes down its pid and its namespace.
fn open_with_home(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let store = reference::open(url, mode)?;
    let home = home_of(url);
    if !Path::new(&home).exists() {
        let written = File::create_new(&home).and_then(|mut file| write!(file, "{} {}", process::id(), namespace()));
        written.map_err(|error| Error::system("write the home", error))?;
    }
    Ok(store)
}

/// Does not report some deaths.
#[derive(Debug)]
struct Forgetful {
    honest: Arc<dyn RawLock>,
    here: Here,
    forgets: fn(Here, u32) -> bool,
}

impl RawLock for Forgetful {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let is_reported = |pid| !(self.forgets)(self.here, pid);
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

impl Sin for OvertakesFromOutside {
    const NAME: &'static str = "overtakes-from-outside";
    const FAULT: &'static str =
        "Takes each owner for dead that it has waited for from outside of the namespace that the store was made in";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("namespaces::a_store_made_in_a_child_namespace_excludes_outside", "of a live owner")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        open_with_home(url, mode)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let honest = honest.lock(id)?;
        Ok(if Here::of(url)? == Here::Outside { Arc::new(Impatient { honest }) } else { honest })
    }
}

#[derive(Debug)]
struct Impatient {
    honest: Arc<dyn RawLock>,
}

impl RawLock for Impatient {
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

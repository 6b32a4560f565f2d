//! Wrong backends that misinterpret IPC namespaces, and grant a lock to two owners.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process;
use std::sync::Arc;

use lock_core::{Acquired, Deadline, Error, Holder, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::Faulty;
use super::fault::{Fault, faulty};
use super::sys;
use crate::reference;

/// Declares a wrong backend for each case, with the words of the failure message and the condition under which the backend grants a held
/// lock.
macro_rules! overtaking {
    ($($backend:ident $name:literal $fault:literal $case:literal $words:literal |$handle:ident| $overtakes:expr;)+) => {
        $(
            #[derive(Debug)]
            struct $backend;

            impl Fault for $backend {
                const NAME: &'static str = $name;
                const FAULT: &'static str = $fault;
                const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[(concat!("namespaces::", $case), $words)];

                fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
                    open(url, mode)
                }

                fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
                    let overtakes: fn(&Handle) -> bool = |$handle| $overtakes;
                    Ok(Arc::new(Handle { honest: honest.lock(id)?, url: url.clone(), made_in: namespace(), overtakes }))
                }
            }
        )+

        pub(super) fn all() -> Vec<Faulty> {
            vec![faulty::<KeepsIdsOfSets>(), $(faulty::<$backend>()),+]
        }
    };
}

overtaking! {
    IgnoresNamespaces "ignores-namespaces" "Grants a lock to a process of another IPC namespace"
        "a_process_in_another_ipc_namespace_is_excluded_or_refused"
        "although its owner lives"
        |handle| handle.is_of_stranger() && handle.any_user_of(&handle.creators_namespace()) && knows_boot();
    BelievesInAReboot "believes-in-a-reboot" "Considers an IPC namespace without a boot id a reboot"
        "a_process_in_another_ipc_namespace_without_a_boot_id_is_excluded_or_refused"
        "although its owner lives"
        |handle| handle.is_of_stranger() && !knows_boot();
    ForgetsChildren "forgets-children" "Ignores a child that has not locked yet as a user of the store"
        "a_child_that_has_not_locked_yet_excludes_another_ipc_namespace"
        "although its owner lives"
        |handle| handle.is_of_stranger() && !handle.any_user_of(&handle.creators_namespace());
    StaysInTheChild "stays-in-the-child" "Lets a child lock in a new IPC namespace that has no other user"
        "another_ipc_namespace_excludes_a_child_that_has_not_locked_yet"
        "although its owner lives"
        |handle| !handle.is_of_stranger() && !handle.any_user_of(&handle.creators_namespace()) && namespace() == handle.creators_namespace();
    LocksInTheThreadsNamespace "locks-where-it-is" "Uses a handle in the IPC namespace to which the thread has moved"
        "a_handle_that_is_taken_to_another_ipc_namespace_excludes_or_is_refused"
        "although its owner lives"
        |handle| !handle.is_of_stranger() && !namespace().is_empty() && namespace() != handle.creators_namespace();
    ForgetsLeavers "forgets-leavers" "Considers an owner dead that has left its IPC namespace"
        "an_owner_that_leaves_its_ipc_namespace_keeps_its_lock"
        "has only left its IPC namespace"
        |handle| namespace() == handle.creators_namespace() && handle.has_owner_that_left();
}

/// Returns the IPC namespace of this thread; empty if `/proc` does not show it.
fn namespace() -> String {
    namespace_of("/proc/thread-self")
}

fn namespace_of(thread: &str) -> String {
    fs::read_link(format!("{thread}/ns/ipc")).unwrap_or_default().to_string_lossy().into_owned()
}

fn knows_boot() -> bool {
    Path::new("/proc/sys/kernel/random/boot_id").exists()
}

fn file_of(url: &StoreUrl, name: &str) -> String {
    format!("{}/{name}", url.location().display())
}

/// Opens a store, and appends this process with its namespace to a list. The first process is the creator.
fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
    let store = reference::open(url, mode)?;
    let users = File::options().create(true).append(true).open(file_of(url, "openers"));
    // Processes of other users cannot write the list, and no case needs them in it.
    let _ = users.and_then(|mut file| writeln!(file, "{} {}", process::id(), namespace()));
    Ok(store)
}

/// A handle in the process that opened the store, or in a child of that process.
#[derive(Debug)]
struct Handle {
    honest: Arc<dyn RawLock>,
    url: StoreUrl,
    /// The IPC namespace of the thread that made the handle.
    made_in: String,
    overtakes: fn(&Self) -> bool,
}

impl Handle {
    /// Returns the processes that have opened the store, each with its namespace.
    fn users(&self) -> Vec<(i32, String)> {
        let users = fs::read_to_string(file_of(&self.url, "openers")).unwrap_or_default();
        let user = |line: &str| line.split_once(' ').and_then(|(pid, namespace)| Some((pid.parse().ok()?, namespace.to_owned())));
        users.lines().filter_map(user).collect()
    }

    /// Returns the namespace of the store's creator.
    fn creators_namespace(&self) -> String {
        self.users().into_iter().next().map(|(_, namespace)| namespace).unwrap_or_default()
    }

    /// Checks whether a process that opened the store in this namespace is alive.
    fn any_user_of(&self, namespace: &str) -> bool {
        self.users().iter().any(|(pid, its)| its == namespace && kill(Pid::from_raw(*pid), None) != Err(Errno::ESRCH))
    }

    fn is_of_stranger(&self) -> bool {
        !self.made_in.is_empty() && self.made_in != self.creators_namespace()
    }

    /// Checks whether the owner has left the creator's namespace since it acquired the lock.
    fn has_owner_that_left(&self) -> bool {
        let Ok(Some(holder)) = self.honest.holder() else { return false };
        let (before, now) = (
            fs::read_to_string(file_of(&self.url, "acquired")).unwrap_or_default(),
            namespace_of(&format!("/proc/{}/task/{}", holder.pid, holder.tid)),
        );
        before == self.creators_namespace() && !now.is_empty() && now != before
    }
}

impl RawLock for Handle {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        match self.honest.acquire(Deadline::Now)? {
            Acquired::TimedOut if (self.overtakes)(self) => Ok(Acquired::Held { token: u64::MAX }),
            Acquired::TimedOut => self.honest.acquire(deadline),
            acquired => {
                let _ = fs::write(file_of(&self.url, "acquired"), namespace());
                Ok(acquired)
            }
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
struct KeepsIdsOfSets;

impl Fault for KeepsIdsOfSets {
    const NAME: &'static str = "keeps-ids-of-sets";
    const FAULT: &'static str =
        "Operates on a semaphore of each lock by its id, without checking the IPC namespace of the thread";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("namespaces::semaphore_sets_of_other_programs_stay_as_they_are", "of another program was changed")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let store = reference::open(url, mode)?;
        let file = file_of(url, "set");
        if !Path::new(&file).exists() {
            let made = sys::make_semaphore().and_then(|id| fs::write(file, id.to_string()));
            made.map_err(|error| Error::system("create a semaphore", error))?;
        }
        Ok(store)
    }

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(WithSemaphore { honest: honest.lock(id)?, set: set_of(url)? }))
    }

    fn destroy(honest: &dyn Manager, url: &StoreUrl) -> Result<()> {
        let removed = sys::remove_semaphore(set_of(url)?);
        honest.destroy()?;
        removed.map_err(|error| Error::system("semctl", error))
    }
}

fn set_of(url: &StoreUrl) -> Result<i32> {
    let text =
        fs::read_to_string(file_of(url, "set")).map_err(|error| Error::system("read the id of the semaphore set", error))?;
    Ok(text.parse().expect("the file contains a semaphore set id"))
}

#[derive(Debug)]
struct WithSemaphore {
    honest: Arc<dyn RawLock>,
    set: i32,
}

impl RawLock for WithSemaphore {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let acquired = self.honest.acquire(deadline)?;
        if acquired != Acquired::TimedOut {
            // The call fails after the death of an owner, which leaves the value 0, or if the namespace has no such set.
            let _ = sys::change_semaphore(self.set, -1);
        }
        Ok(acquired)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let _ = sys::change_semaphore(self.set, 1);
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        self.honest.holder()
    }
}

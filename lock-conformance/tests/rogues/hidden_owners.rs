//! Wrong backends that misjudge an owner which is partly or wholly invisible, each in one kind of environment.

use std::fmt::Debug;
use std::fs;
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lock_core::{Acquired, Deadline, Error, Manager, OpenMode, RawLock, Result, StoreUrl};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use nix::unistd::Pid;

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

/// Declares the environments, each with its name and its group of cases. Each one has two wrong backends.
macro_rules! views {
    ($($view:ident $name:literal $group:literal;)+) => {
        /// The visibility of an owner to this process.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        enum View {
            Clear,
            $($view,)+
        }

        $(
            #[derive(Debug)]
            struct $view;

            impl Environment for $view {
                const VIEW: View = View::$view;
                const OVERTAKES: &'static str = concat!("overtakes-", $name);
                const FORGETS: &'static str = concat!("forgets-", $name);
                const LIVE: &'static [(&'static str, &'static str)] =
                    &[(concat!("visibility::", $group, "::a_live_owner_keeps_its_lock"), "of a live owner")];
                const DEAD: &'static [(&'static str, &'static str)] =
                    &[(concat!("visibility::", $group, "::the_lock_of_a_dead_owner_is_recovered"), "was not reported")];
            }
        )+

        pub(super) fn all() -> Vec<Faulty> {
            vec![faulty::<NeedsProc>(), $(faulty::<Overtakes<$view>>(), faulty::<Forgets<$view>>(),)+]
        }
    };
}

views! {
    OtherUser "other-users" "other_user";
    Hidepid1 "under-hidepid-1" "hidepid_1";
    Hidepid2 "under-hidepid-2" "hidepid_2";
    Hidepid4 "under-hidepid-4" "hidepid_4";
    Hidepid1WithoutDumps "without-dumps-under-hidepid-1" "hidepid_1_without_dumps";
    Hidepid2WithoutDumps "without-dumps-under-hidepid-2" "hidepid_2_without_dumps";
    Hidepid4WithoutDumps "without-dumps-under-hidepid-4" "hidepid_4_without_dumps";
    SubsetPid "under-subset-pid" "subset_pid";
    NoProc "without-proc" "no_proc";
    OtherProc "under-another-proc" "other_proc";
    OtherProcWithEqualPid "under-another-proc-with-equal-pid" "other_proc_with_equal_pid";
    UserNamespace "in-a-user-namespace" "user_namespace";
    UserNamespaceWithoutDumps "in-a-user-namespace-without-dumps" "user_namespace_without_dumps";
}

/// An environment in which a backend has a fault.
trait Environment: Debug + Send + Sync + UnwindSafe + RefUnwindSafe + 'static {
    const VIEW: View;
    const OVERTAKES: &'static str;
    const FORGETS: &'static str;
    const LIVE: &'static [(&'static str, &'static str)];
    const DEAD: &'static [(&'static str, &'static str)];
}

impl View {
    fn of(owner: Pid) -> Self {
        let owner_dir = format!("/proc/{owner}");
        let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
            return match statfs("/proc").map(|facts| facts.filesystem_type()) {
                Ok(PROC_SUPER_MAGIC) if Path::new(&owner_dir).exists() => Self::OtherProcWithEqualPid,
                Ok(PROC_SUPER_MAGIC) => Self::OtherProc,
                _ => Self::NoProc,
            };
        };
        let is_of_other_user = kill(owner, None) == Err(Errno::EPERM);
        let has_all_users = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.contains("4294967295"));
        let top = mounts.lines().rfind(|line| line.split(' ').nth(4) == Some("/proc")).unwrap_or_default();
        let has = |option: &str| top.contains(option);
        match is_of_other_user {
            _ if has("subset=pid") && !shares_ipc_with(owner) => Self::Clear,
            _ if has("subset=pid") => Self::SubsetPid,
            _ if !has_all_users && has("hidepid=") => Self::UserNamespace,
            // A pid of a new PID namespace identifies another process here.
            _ if !has_all_users && process::id() == 1 => Self::Clear,
            _ if !has_all_users => Self::UserNamespaceWithoutDumps,
            true if has("hidepid=noaccess") => Self::Hidepid1,
            true if has("hidepid=invisible") => Self::Hidepid2,
            true if has("hidepid=ptraceable") => Self::Hidepid4,
            true if is_of_root(owner) => Self::OtherUser,
            true => Self::Clear,
            false if has("hidepid=noaccess") => Self::Hidepid1WithoutDumps,
            false if has("hidepid=invisible") => Self::Hidepid2WithoutDumps,
            false if has("hidepid=ptraceable") => Self::Hidepid4WithoutDumps,
            false => Self::Clear,
        }
    }

    fn of_holder(lock: &dyn RawLock) -> Option<Self> {
        let holder = lock.holder().ok()??;
        Some(Self::of(Pid::from_raw(holder.pid.cast_signed())))
    }
}

fn shares_ipc_with(process: Pid) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/ipc")).ok();
    namespace("thread-self") == namespace(&process.to_string())
}

fn is_of_root(process: Pid) -> bool {
    fs::metadata(format!("/proc/{process}")).is_ok_and(|facts| facts.uid() == 0)
}

/// Polls the lock until `otherwise` replaces the result or the wait ends.
///
/// `otherwise` also gets the first view of a live owner that was not fully visible.
fn poll(
    honest: &dyn RawLock,
    deadline: Deadline,
    mut otherwise: impl FnMut(&Acquired, Option<View>) -> Option<Acquired>,
) -> Result<Acquired> {
    let mut seen = None;
    loop {
        let acquired = honest.acquire(Deadline::Now)?;
        if acquired == Acquired::TimedOut {
            // A later view of the owner can be wrong, because the owner may be exiting.
            seen = seen.filter(|seen| *seen != View::Clear).or_else(|| View::of_holder(honest)).or(seen);
        }
        if let Some(other) = otherwise(&acquired, seen) {
            return Ok(other);
        }
        if acquired != Acquired::TimedOut || deadline.has_passed() {
            return Ok(acquired);
        }
        thread::sleep(Duration::from_micros(500));
    }
}

#[derive(Debug)]
struct Overtakes<B>(PhantomData<B>);

impl<B: Environment> Fault for Overtakes<B> {
    const NAME: &'static str = B::OVERTAKES;
    const FAULT: &'static str = "Considers an owner dead after a wait if the owner is not fully visible";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = B::LIVE;

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        let began = Instant::now();
        poll(honest, deadline, |acquired, seen| {
            let is_due = *acquired == Acquired::TimedOut && began.elapsed() > Duration::from_millis(200);
            (is_due && seen == Some(B::VIEW)).then_some(Acquired::Held { token: u64::MAX })
        })
    }
}

#[derive(Debug)]
struct Forgets<B>(PhantomData<B>);

impl<B: Environment> Fault for Forgets<B> {
    const NAME: &'static str = B::FORGETS;
    const FAULT: &'static str = "Does not report the death of an owner that was not fully visible";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = B::DEAD;

    fn acquire(honest: &dyn RawLock, deadline: Deadline) -> Result<Acquired> {
        poll(honest, deadline, |acquired, seen| match acquired {
            Acquired::Recovered(recovery) if seen == Some(B::VIEW) => Some(Acquired::Held { token: recovery.token }),
            _ => None,
        })
    }
}

#[derive(Debug)]
struct NeedsProc;

impl Fault for NeedsProc {
    const NAME: &'static str = "needs-proc";
    const FAULT: &'static str = "Fails to open a store without /proc, and the error does not name /proc";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("visibility::a_store_opens_without_proc_or_is_refused", "the error does not name /proc")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        fs::metadata("/proc/self/fd").map_err(|error| Error::system("stat", error))?;
        reference::open(url, mode)
    }
}

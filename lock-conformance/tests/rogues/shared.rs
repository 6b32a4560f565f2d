//! Wrong backends that share a store between users incorrectly, or that follow symbolic links.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lock_core::{
    Acquired, Deadline, Error, ErrorKind, Holder, LockId, Manager, OpenMode, OwnerKind, Proof, RawLock, Result, StoreUrl,
};
use nix::unistd::{getegid, geteuid};

use super::Faulty;
use super::fault::{Fault, faulty};
use crate::reference;

pub(super) fn all() -> Vec<Faulty> {
    vec![
        faulty::<MakesInTwoSteps>(),
        faulty::<KeepsWhatRootMakes>(),
        faulty::<ForgetsTheGroup>(),
        faulty::<TrustsEveryUser>(),
        faulty::<ShowsArguments>(),
        faulty::<FollowsLinks>(),
    ]
}

#[derive(Debug)]
struct MakesInTwoSteps;

impl Fault for MakesInTwoSteps {
    const NAME: &'static str = "makes-in-two-steps";
    const FAULT: &'static str = "Creates a private store, and grants access to other users later";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::users_who_create_at_once_get_one_store", "two users create a store at the same time, but one was refused")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        if mode == OpenMode::OpenOrCreate
            && let Ok(facts) = fs::metadata(url.location())
            && facts.uid() != geteuid().as_raw()
            && facts.created().is_ok_and(|made| made.elapsed().is_ok_and(|age| age < Duration::from_millis(500)))
        {
            return Err(Error::system("open", io::Error::from(io::ErrorKind::PermissionDenied)));
        }
        reference::open(url, mode)
    }
}

fn lock_file(url: &StoreUrl, id: LockId) -> PathBuf {
    url.location().join("locks").join(id.to_string())
}

#[derive(Debug)]
struct KeepsWhatRootMakes;

impl Fault for KeepsWhatRootMakes {
    const NAME: &'static str = "keeps-what-root-makes";
    const FAULT: &'static str = "Leaves files that root creates in a user's store with root";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::what_root_makes_in_a_users_store_is_the_users", "does not belong to the user")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let is_new = !lock_file(url, id).exists();
        let lock = honest.lock(id)?;
        if is_new && geteuid().is_root() {
            let _ = chown(lock_file(url, id), Some(0), Some(0));
            let _ = fs::set_permissions(lock_file(url, id), Permissions::from_mode(0o600));
        }
        Ok(lock)
    }
}

#[derive(Debug)]
struct ForgetsTheGroup;

impl Fault for ForgetsTheGroup {
    const NAME: &'static str = "forgets-the-group";
    const FAULT: &'static str = "Gives new files the group of the process instead of the store's group";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::members_of_a_group_share_a_store", "has another group than the store")];

    fn lock(honest: &dyn Manager, url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        let is_new = !lock_file(url, id).exists();
        let lock = honest.lock(id)?;
        if is_new {
            let _ = chown(lock_file(url, id), None, Some(getegid().as_raw()));
            let _ = fs::set_permissions(lock_file(url, id), Permissions::from_mode(0o666));
        }
        Ok(lock)
    }
}

#[derive(Debug)]
struct TrustsEveryUser;

impl Fault for TrustsEveryUser {
    const NAME: &'static str = "trusts-everybody";
    const FAULT: &'static str = "Accepts a store of any user";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::a_strangers_store_is_refused", "a store that a stranger created must not open")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        match reference::open(url, mode) {
            Err(error) if matches!(error.kind(), ErrorKind::Untrusted) => {
                let trusting: StoreUrl = format!("{}:{}?mode=0666&owner=any", url.scheme(), url.location().display()).parse()?;
                reference::open(&trusting, mode)
            }
            other => other,
        }
    }
}

#[derive(Debug)]
struct ShowsArguments;

impl Fault for ShowsArguments {
    const NAME: &'static str = "tells-arguments";
    const FAULT: &'static str = "Shows the owner's command-line arguments to other users";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::a_user_sees_no_arguments_of_another", "another user sees the arguments of the owner")];

    fn lock(honest: &dyn Manager, _url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(ShowsCommandLine(honest.lock(id)?)))
    }
}

#[derive(Debug)]
struct ShowsCommandLine(Arc<dyn RawLock>);

impl RawLock for ShowsCommandLine {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.0.acquire(deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.0.release(proof)
    }

    fn mark_consistent(&self, owner: OwnerKind, token: Option<u64>) -> Result<()> {
        self.0.mark_consistent(owner, token)
    }

    fn holder(&self) -> Result<Option<Holder>> {
        let holder = self.0.holder()?;
        Ok(holder.map(|holder| {
            let line = fs::read(format!("/proc/{}/cmdline", holder.pid)).unwrap_or_default();
            let command = String::from_utf8_lossy(&line).replace('\0', " ");
            holder.with_command(command)
        }))
    }
}

// There is no rare variant, because a process opens its store once.
#[derive(Debug)]
struct FollowsLinks;

impl Fault for FollowsLinks {
    const NAME: &'static str = "follows-links";
    const FAULT: &'static str = "Opens and creates a store through a symbolic link";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("links::nothing_is_made_or_removed_through_a_link", "where the link leads to, something changed"),
        ("links::nothing_is_made_through_a_link_to_nothing", "where the link leads to, something changed"),
    ];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let Ok(target) = fs::read_link(url.location()) else { return reference::open(url, mode) };
        let (_, options) = url.as_str().split_once('?').unwrap_or_default();
        let led: StoreUrl = format!("{}:{}?{options}", url.scheme(), target.display()).parse()?;
        reference::open(&led, mode)
    }
}

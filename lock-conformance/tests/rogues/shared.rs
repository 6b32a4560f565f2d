//! Rogues that share a store between users wrongly, and that follow links.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lock_core::{Acquired, Deadline, Error, ErrorKind, Holder, LockId, Manager, OpenMode, Proof, RawLock, Result, StoreUrl};
use nix::unistd::{getegid, geteuid};

use super::Sinner;
use super::sin::{Sin, sinner};
use crate::reference;

pub(super) fn all() -> Vec<Sinner> {
    vec![
        sinner::<MakesInTwoSteps>(),
        sinner::<KeepsWhatRootMakes>(),
        sinner::<ForgetsTheGroup>(),
        sinner::<TrustsEverybody>(),
        sinner::<TellsArguments>(),
        sinner::<FollowsLinks>(),
    ]
}

#[derive(Debug)]
struct MakesInTwoSteps;

impl Sin for MakesInTwoSteps {
    const NAME: &'static str = "makes-in-two-steps";
    const FAULT: &'static str = "Makes a store for itself, and opens it to others a moment later";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::users_who_create_at_once_get_one_store", "two users create a store at the same time, but one was refused")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        if mode == OpenMode::OpenOrCreate
            && let Ok(facts) = fs::metadata(url.place())
            && facts.uid() != geteuid().as_raw()
            && facts.created().is_ok_and(|made| made.elapsed().is_ok_and(|age| age < Duration::from_millis(500)))
        {
            return Err(Error::system("open", io::Error::from(io::ErrorKind::PermissionDenied)));
        }
        reference::open(url, mode)
    }
}

fn lock_file(url: &StoreUrl, id: LockId) -> PathBuf {
    Path::new(url.place()).join("locks").join(id.to_string())
}

#[derive(Debug)]
struct KeepsWhatRootMakes;

impl Sin for KeepsWhatRootMakes {
    const NAME: &'static str = "keeps-what-root-makes";
    const FAULT: &'static str = "Keeps for root what root makes in the store of a user";
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

impl Sin for ForgetsTheGroup {
    const NAME: &'static str = "forgets-the-group";
    const FAULT: &'static str = "Gives what it makes the group of the process";
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
struct TrustsEverybody;

impl Sin for TrustsEverybody {
    const NAME: &'static str = "trusts-everybody";
    const FAULT: &'static str = "Uses a store of any user";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::a_strangers_store_is_refused", "a store that a stranger created must not open")];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        match reference::open(url, mode) {
            Err(error) if matches!(error.kind(), ErrorKind::NotOurs { .. }) => {
                let trusting: StoreUrl = format!("{}:{}?mode=0666&owner=any", url.scheme(), url.place()).parse()?;
                reference::open(&trusting, mode)
            }
            other => other,
        }
    }
}

#[derive(Debug)]
struct TellsArguments;

impl Sin for TellsArguments {
    const NAME: &'static str = "tells-arguments";
    const FAULT: &'static str = "Shows the arguments of the owner to each user";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] =
        &[("sharing::a_user_sees_no_arguments_of_another", "another user sees the arguments of the owner")];

    fn lock(honest: &dyn Manager, _url: &StoreUrl, id: LockId) -> Result<Arc<dyn RawLock>> {
        Ok(Arc::new(Telling(honest.lock(id)?)))
    }
}

#[derive(Debug)]
struct Telling(Arc<dyn RawLock>);

impl RawLock for Telling {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        self.0.acquire(deadline)
    }

    fn release(&self, proof: Proof) -> Result<()> {
        self.0.release(proof)
    }

    fn mark_consistent(&self) -> Result<()> {
        self.0.mark_consistent()
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

// No sibling is wrong rarely: a process opens its store once.
#[derive(Debug)]
struct FollowsLinks;

impl Sin for FollowsLinks {
    const NAME: &'static str = "follows-links";
    const FAULT: &'static str = "Opens and makes a store where a link leads";
    const CAUGHT_BY: &'static [(&'static str, &'static str)] = &[
        ("links::nothing_is_made_or_removed_through_a_link", "where the link leads to, something changed"),
        ("links::nothing_is_made_through_a_link_to_nothing", "where the link leads to, something changed"),
    ];

    fn open(url: &StoreUrl, mode: OpenMode) -> Result<Arc<dyn Manager>> {
        let Ok(target) = fs::read_link(url.place()) else { return reference::open(url, mode) };
        let (_, options) = url.as_str().split_once('?').unwrap_or_default();
        let led: StoreUrl = format!("{}:{}?{options}", url.scheme(), target.display()).parse()?;
        reference::open(&led, mode)
    }
}

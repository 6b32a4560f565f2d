//! A lock that infers the death of its owner from a descriptor of the owner, which the program can change.

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use lock_core::{Acquired, Deadline, LockId, Manager, Proof, RawLock, Result, StoreUrl};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use super::descriptors::PAUSE;
use super::number::{Number, inode_of};
use super::sys;

/// A lock whose owner records one of its descriptors, which other processes then check.
#[derive(Debug)]
struct Watched {
    honest: Arc<dyn RawLock>,
    header: PathBuf,
    note: PathBuf,
    number: Number,
    is_dead: fn(&Signature) -> bool,
}

/// The note of an owner. The count differs between acquisitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Signature {
    pid: u32,
    number: RawFd,
    header: u64,
    count: u32,
}

/// Number of consecutive checks that must consider the owner dead.
///
/// A single check can coincide with a release or an exit.
const CHECKS: u32 = 20;

/// Returns a lock that considers its owner dead when `is_dead` returns true.
pub(super) fn watched(
    honest: &dyn Manager,
    url: &StoreUrl,
    id: LockId,
    is_dead: fn(&Signature) -> bool,
) -> Result<Arc<dyn RawLock>> {
    let store = url.location();
    let (header, note) = (store.join("header"), store.join(format!("note-{id}")));
    Ok(Arc::new(Watched { honest: honest.lock(id)?, header, note, number: Number::none(), is_dead }))
}

impl Watched {
    /// Records the process and its descriptor, unless the store is destroyed.
    fn sign(&self) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (Ok(number), Some(pid)) = (self.number.open(&self.header), pid_in_proc()) else { return };
        let _ = fcntl(sys::by_number(number), FcntlArg::F_SETFD(FdFlag::empty()));
        let (header, count) = (inode_of(number).unwrap_or(0), COUNT.fetch_add(1, Ordering::Relaxed));
        let _ = fs::write(&self.note, format!("{pid} {number} {header} {count}"));
    }

    /// Returns the signature of the owner if `is_dead` considers it dead.
    fn dead_owner(&self) -> Option<Signature> {
        let note = fs::read_to_string(&self.note).ok()?;
        let [pid, number, header, count] = note.split(' ').collect::<Vec<_>>()[..] else { return None };
        let (pid, number, header, count) = (pid.parse().ok()?, number.parse().ok()?, header.parse().ok()?, count.parse().ok()?);
        Some(Signature { pid, number, header, count }).filter(self.is_dead)
    }
}

impl Signature {
    /// Returns false if the process is visible and has closed the number.
    pub(super) fn has_open_number(&self) -> bool {
        let numbers = fs::read_dir(format!("/proc/{}/fd", self.pid));
        numbers
            .map_or(true, |numbers| numbers.flatten().any(|entry| entry.file_name().to_str() == Some(&self.number.to_string())))
    }

    /// Checks whether the number still refers to the file that the owner opened.
    pub(super) fn has_open_header(&self) -> bool {
        fs::metadata(format!("/proc/{}/fd/{}", self.pid, self.number)).is_ok_and(|facts| facts.ino() == self.header)
    }

    /// Returns the flags of the descriptor and of its open file.
    pub(super) fn flags(&self) -> Option<OFlag> {
        let facts = fs::read_to_string(format!("/proc/{}/fdinfo/{}", self.pid, self.number)).ok()?;
        let flags = facts.lines().find_map(|line| line.strip_prefix("flags:"))?;
        i32::from_str_radix(flags.trim(), 8).ok().map(OFlag::from_bits_retain)
    }
}

/// Returns the pid of this process in the PID namespace of `/proc`.
///
/// All processes of a case share that `/proc`.
fn pid_in_proc() -> Option<String> {
    fs::read_link("/proc/self").ok()?.to_str().map(str::to_owned)
}

impl RawLock for Watched {
    fn acquire(&self, deadline: Deadline) -> Result<Acquired> {
        let (mut dead, mut checks) = (None, 0);
        loop {
            let acquired = self.honest.acquire(Deadline::Now)?;
            if acquired != Acquired::TimedOut {
                self.sign();
                return Ok(acquired);
            }
            let now = self.dead_owner();
            checks = if now.is_some() && now == dead { checks + 1 } else { 0 };
            dead = now;
            if checks == CHECKS {
                return Ok(Acquired::Held { token: u64::MAX });
            }
            if deadline.has_passed() {
                return Ok(Acquired::TimedOut);
            }
            thread::sleep(deadline.remaining().map_or(PAUSE, |left| left.min(PAUSE)));
        }
    }

    fn release(&self, proof: Proof) -> Result<()> {
        let header = fs::metadata(&self.header).ok().map(|facts| facts.ino());
        let _ = fs::remove_file(&self.note);
        if let Some(number) = self.number.take().filter(|number| inode_of(*number) == header) {
            let _ = nix::unistd::close(number);
        }
        self.honest.release(proof)
    }

    fn holder(&self) -> Result<Option<lock_core::Holder>> {
        self.honest.holder()
    }
}

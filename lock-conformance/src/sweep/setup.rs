//! The store and the shared words that a swept operation works on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use lock_core::{
    Backend, Capabilities, DeathReports, ErrorKind, Guard, Holders, Lock, LockId, Numbering, OpenMode, OwnerDeath, RawLock,
    Result, Store, Waiters,
};

use crate::sys;

/// The lock that is swept, and a distant one with which a process prepares.
pub(super) const LOCK: u32 = 5;
const OTHER: u32 = 69;
/// Number of locks in the store: slightly more than one bitmap word holds.
pub(super) const CAPACITY: u64 = 70;

/// The last step of the operation that the target reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u64)]
pub(super) enum Mark {
    Start,
    /// The lock was acquired.
    Inside,
    /// The release was about to start.
    Leaving,
    /// The lock was released, or the operation was complete.
    Done,
}

/// How the operation deals with the report of an earlier death.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReportHandling {
    /// It leaves the report for the next owner.
    Leaves,
    /// It marks the lock consistent, before [`Mark::Leaving`].
    Marks,
}

/// The result of a check; the error describes the failure.
pub(super) type Check = Result<(), String>;

/// A store, and words that the target and the other processes share.
pub(super) struct Setup {
    pub(super) backend: Backend,
    url: String,
    directory: PathBuf,
    words: &'static [AtomicU64],
    /// This process's guard of the lock.
    guard: Option<Guard<'static>>,
    store: Option<Store>,
    /// The target's guard, if the target is swept while it holds the lock.
    held: RefCell<Option<Guard<'static>>>,
    /// The target's handle, until the target uses it.
    handle: RefCell<Option<Lock>>,
    /// The target's handle on the backend's part of the lock, if the backend records no holders.
    raw_handle: RefCell<Option<Arc<dyn RawLock>>>,
}

/// Time limit for a waiter after the death of an owner. A store may need part of it to detect a lost wake-up.
pub(super) const WAITER_PATIENCE: Duration = Duration::from_secs(1);

/// Longer than the interval after which a store checks a table again.
const A_WHILE: Duration = Duration::from_millis(20);

impl Setup {
    pub(super) fn new(backend: &Backend, url: &dyn Fn(&Path) -> String, scratch: &Path, capacity: u64) -> std::io::Result<Self> {
        let shared = scratch.join("words");
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(&shared)?;
        file.set_len(4096)?;
        let words = sys::map_words(&file, 8)?;
        std::fs::remove_file(shared)?;
        let directory = scratch.join("store");
        std::fs::create_dir_all(&directory)?;
        let mut url = url(&directory);
        if backend.capabilities().capacity == lock_core::Capacity::Chosen {
            url.push_str(if url.contains('?') { "&" } else { "?" });
            url.push_str(&format!("capacity={capacity}"));
        }
        Ok(Self {
            backend: *backend,
            url,
            directory,
            words,
            guard: None,
            store: None,
            held: RefCell::default(),
            handle: RefCell::default(),
            raw_handle: RefCell::default(),
        })
    }

    /// Creates or opens the store, and frees all ids.
    pub(super) fn with_store(&mut self) -> Result<()> {
        let store = self.open(OpenMode::OpenOrCreate)?;
        if self.is_numbered() {
            store.free_all()?;
        }
        self.store = Some(store);
        Ok(())
    }

    /// Ensures that the store does not exist.
    pub(super) fn without_store(&mut self) -> Result<()> {
        match self.store.take().map_or_else(|| self.open(OpenMode::Open), Ok) {
            Ok(store) => store.destroy(),
            Err(error) if matches!(error.kind(), ErrorKind::Absent) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Destroys the store after a failed check, so that the damage does not affect later kills.
    pub(super) fn discard_store(&mut self) {
        self.release();
        let _ = self.without_store();
    }

    /// Drops the handle on the store.
    pub(super) fn forget(&mut self) {
        self.store = None;
    }

    /// Acquires the lock and keeps the guard.
    pub(super) fn hold(&mut self) -> Result<()> {
        self.release();
        self.guard = Some(self.lock().lock_owned()?);
        Ok(())
    }

    pub(super) fn release(&mut self) {
        self.guard = None;
    }

    /// Acquires the lock in the target.
    pub(super) fn hold_in_target(&self) {
        self.held.replace(self.find(LOCK).and_then(|lock| lock.lock_owned().ok()));
    }

    /// Releases the lock that the target holds.
    pub(super) fn release_held(&self) {
        drop(self.held.take());
    }

    /// Checks that the process that waits for the lock of the target acquires it.
    pub(super) fn check_waiter(&self) -> Check {
        let end = Instant::now() + WAITER_PATIENCE;
        while self.note().load(SeqCst) == 0 {
            if Instant::now() > end {
                return Err("the waiter is still asleep: its wake-up is lost".to_owned());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    pub(super) fn open(&self, mode: OpenMode) -> Result<Store> {
        Store::with_backend(&self.backend, &self.url.parse()?, mode)
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().expect("the operation has one")
    }

    pub(super) fn lock(&self) -> Lock {
        let at_hand = self.handle.take();
        at_hand.or_else(|| self.find(LOCK)).expect("the id is in range")
    }

    /// Prepares a forked process: registers it with the store and gets a handle on the lock.
    ///
    /// Getting the handle under single steps would take so long that the store checks its table again, which is another route.
    pub(super) fn attach(&self) {
        self.attach_without_handle();
        self.handle.replace(self.find(LOCK));
        if self.capabilities().holders == Holders::Unknown {
            let id = LockId::new(if self.is_numbered() { LOCK } else { 0 });
            let open = || self.backend.open(&self.url.parse()?, OpenMode::Open)?.lock(id);
            self.raw_handle.replace(open().ok());
        }
    }

    /// Returns the backend's part of the lock, if the backend records no holders.
    pub(super) fn raw_lock(&self) -> Option<Arc<dyn RawLock>> {
        self.raw_handle.take()
    }

    /// Prepares a forked process that gets its handle later.
    pub(super) fn attach_without_handle(&self) {
        if let Some(store) = &self.store {
            if self.is_numbered() {
                drop(store.retrieve(OTHER).and_then(|lock| lock.lock_owned()));
            }
            // A store checks its table again after an interval. This check starts the interval at the same point for all targets.
            let _ = store.check();
        }
    }

    /// Prepares a forked process, and waits until the store checks its table again.
    pub(super) fn attach_and_wait(&self) {
        self.attach();
        std::thread::sleep(A_WHILE);
    }

    pub(super) fn reset(&self) {
        self.words.iter().for_each(|word| word.store(0, SeqCst));
    }

    pub(super) fn mark(&self, mark: Mark) {
        self.words[0].store(mark as u64, SeqCst);
    }

    pub(super) fn marked(&self, mark: Mark) -> bool {
        self.progress() == mark
    }

    fn progress(&self) -> Mark {
        let word = self.words[0].load(SeqCst);
        [Mark::Start, Mark::Inside, Mark::Leaving].into_iter().find(|mark| *mark as u64 == word).unwrap_or(Mark::Done)
    }

    /// Returns a word in which another process leaves its result; see the operations.
    pub(super) fn note(&self) -> &AtomicU64 {
        &self.words[1]
    }

    fn is_numbered(&self) -> bool {
        self.capabilities().numbering == Numbering::Numbered
    }

    /// Returns the lock with this id, or the only one.
    fn find(&self, id: u32) -> Option<Lock> {
        let store = self.store.as_ref()?;
        if self.is_numbered() { store.retrieve(id).ok() } else { store.single().ok() }
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// Returns whether the next owner must get a report of a death.
    pub(super) fn reports(&self) -> bool {
        self.capabilities().owner_death == OwnerDeath::Reported
    }

    /// Returns whether each owner gets the report of a death until one marks the lock consistent.
    pub(super) fn has_lasting_reports(&self) -> bool {
        self.capabilities().death_reports == DeathReports::UntilConsistent
    }

    /// Checks that the lock can be acquired, and that it reports the target's death iff the target held it.
    pub(super) fn check_lock(&self, target: u32) -> Check {
        self.check_report(target, None)
    }

    /// As [`Setup::check_lock`], for a target that acquired the lock after the death of an earlier owner.
    pub(super) fn check_recovered_lock(&self, target: u32, earlier: u32, handling: ReportHandling) -> Check {
        self.check_report(target, Some((earlier, handling)))
    }

    fn check_report(&self, target: u32, earlier: Option<(u32, ReportHandling)>) -> Check {
        let told = self.reported_until_marked()?;
        if !self.reports() {
            return Ok(());
        }
        let stands = |handling| self.has_lasting_reports() && handling == ReportHandling::Leaves;
        // The processes that the report may name, and whether a report is required.
        let (expected, has_to_be) = match (self.progress(), earlier) {
            (Mark::Start, None) => (vec![target], false),
            (Mark::Start, Some((earlier, _))) => (vec![target, earlier], true),
            (Mark::Inside, _) => (vec![target], true),
            (Mark::Leaving, Some((earlier, handling))) if stands(handling) => (vec![target, earlier], true),
            (Mark::Leaving, _) => (vec![target], false),
            (Mark::Done, Some((earlier, handling))) if stands(handling) => (vec![earlier], true),
            (Mark::Done, _) => (vec![], false),
        };
        match told {
            Some(pid) if !expected.contains(&pid) => Err(format!(
                "killed {:?}, the target is {target}, and the death of {pid} is reported; expected: {expected:?}",
                self.progress()
            )),
            None if has_to_be => Err(format!("killed {:?}, and no death is reported; expected: {expected:?}", self.progress())),
            _ => Ok(()),
        }
    }

    /// Returns the process whose death the next owner gets a report of.
    ///
    /// Checks that a second owner gets the same report and marks the lock consistent, and that a third owner gets none.
    fn reported_until_marked(&self) -> Result<Option<u32>, String> {
        let lock = self.lock();
        let told = pid_of(&lock.try_lock_for(Duration::from_secs(1)).map_err(|e| format!("the lock cannot be acquired: {e}"))?);
        let mut guard = lock.lock().map_err(|e| e.to_string())?;
        let again = pid_of(&guard);
        let expected = told.filter(|_| self.has_lasting_reports());
        if again != expected {
            return Err(format!("the first owner got a report of {told:?}, the second of {again:?}"));
        }
        guard.mark_consistent().and_then(|()| guard.unlock()).map_err(|e| e.to_string())?;
        match lock.lock().map_err(|e| e.to_string())?.recovered() {
            Some(death) => Err(format!("a death is reported after an owner marked the lock consistent: {death}")),
            None => Ok(told),
        }
    }

    /// Checks that only ids in `may_be` are allocated, with these labels, and that all others are free.
    ///
    /// A store without ids passes.
    pub(super) fn check_ids(&self, may_be: &[u32], labels: &[&str]) -> Check {
        if !self.is_numbered() {
            return Ok(());
        }
        let text = |e: lock_core::Error| e.to_string();
        let allocated = self.store().allocated().map_err(text)?;
        for one in &allocated {
            if !may_be.contains(&one.id.get()) {
                return Err(format!("the id {} is allocated, and only {may_be:?} may be", one.id));
            }
            if self.capabilities().labels == lock_core::Labels::Kept && !labels.contains(&one.label.as_str()) {
                return Err(format!("the id {} has the label {:?}", one.id, one.label.as_str()));
            }
        }
        let mut ids: BTreeSet<_> = allocated.iter().map(|one| one.id).collect();
        loop {
            match self.store().allocate("") {
                Ok(lock) if ids.insert(lock.id()) => {}
                Ok(lock) => return Err(format!("the id {:?} was handed out twice", lock.id())),
                Err(error) if matches!(error.kind(), ErrorKind::Exhausted) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        let capacity = self.store().capacity().unwrap_or(CAPACITY);
        if (ids.len() as u64) < capacity {
            let lost: Vec<_> = (0..capacity as u32).map(LockId::new).filter(|id| !ids.contains(id)).collect();
            return Err(format!("ids are lost: {lost:?}"));
        }
        self.store().free_all().map_err(text)?;
        match self.store().available().map_err(text)? {
            Some(free) if free != capacity => Err(format!("all {capacity} ids are free, but available() returns {free}")),
            _ => Ok(()),
        }
    }

    /// Checks that no thread is listed as a waiter. The target is dead, and the other processes have acquired the lock.
    pub(super) fn check_no_waiters(&self) -> Check {
        if self.capabilities().waiters != Waiters::Named {
            return Ok(());
        }
        match &self.store().waiting().map_err(|e| e.to_string())?.waiters[..] {
            [] => Ok(()),
            [waiter, ..] => Err(format!("{} is listed as a waiter, although no thread waits", waiter.thread)),
        }
    }

    /// Checks that the directory is empty. Only for use when no store exists.
    pub(super) fn check_nothing_is_left(&self) -> Check {
        let left: Vec<_> = std::fs::read_dir(&self.directory)
            .map_err(|e| e.to_string())?
            .map(|entry| entry.map_or_else(|e| e.to_string(), |entry| entry.file_name().to_string_lossy().into_owned()))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("files remain: {left:?}")) }
    }
}

/// Returns the pid that the guard reports as dead, 0 if it is unknown.
pub(super) fn pid_of(guard: &Guard<'_>) -> Option<u32> {
    Some(guard.recovered()?.holder.as_ref().map_or(0, |holder| holder.pid))
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.release();
        let _ = self.without_store();
    }
}

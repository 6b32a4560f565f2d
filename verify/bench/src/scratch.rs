//! The files and semaphores of a run. They are removed at the end, after a panic, and on a signal.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lock_any::{OpenMode, Store};
use nix::sys::signal::{SigSet, Signal};
use tempfile::TempDir;

use crate::sys;

/// A scratch directory, in memory if possible, and other objects to remove.
pub(crate) struct Scratch {
    path: PathBuf,
    directory: Mutex<Option<TempDir>>,
    elsewhere: Mutex<Vec<Elsewhere>>,
}

/// An object outside the directory.
enum Elsewhere {
    /// A store with a set of semaphores.
    Store(String),
    /// A set of semaphores.
    Set(i32),
}

impl Scratch {
    /// Creates the directory. SIGINT, SIGTERM and SIGHUP then remove everything before they end the program.
    pub(crate) fn new() -> Arc<Self> {
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        signals.thread_block().expect("signals can be blocked");
        let prefixed = || tempfile::Builder::new().prefix("lock-bench-").to_owned();
        let directory = prefixed().tempdir_in("/dev/shm").or_else(|_| prefixed().tempdir()).expect("a scratch directory");
        let (path, directory) = (directory.path().to_owned(), Mutex::new(Some(directory)));
        let scratch = Arc::new(Self { path, directory, elsewhere: Mutex::default() });
        let watched = Arc::downgrade(&scratch);
        std::thread::spawn(move || {
            if let Ok(signal) = signals.wait() {
                if let Some(scratch) = watched.upgrade() {
                    scratch.clear();
                }
                std::process::exit(128 + signal as i32);
            }
        });
        scratch
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a store in the directory.
    pub(crate) fn create(&self, scheme: &str, name: &str, options: &str) -> Store {
        let url = url(&self.path, scheme, name);
        if scheme == "sem" {
            self.remember(Elsewhere::Store(url.clone()));
        }
        lock_any::create(format!("{url}{options}")).expect("a store can be made")
    }

    /// Creates a set of one semaphore with the value 1.
    pub(crate) fn semaphore_set(&self) -> sys::Set {
        let set = sys::Set::new();
        self.remember(Elsewhere::Set(set.id()));
        set
    }

    fn remember(&self, what: Elsewhere) {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Removes everything. Missing objects are ignored.
    fn clear(&self) {
        for what in self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            match what {
                Elsewhere::Store(url) => drop(lock_any::open(&url).and_then(|store| store.destroy())),
                Elsewhere::Set(id) => sys::Set::with_id(id).remove(),
            }
        }
        drop(self.directory.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.clear();
    }
}

fn url(scratch: &Path, scheme: &str, name: &str) -> String {
    format!("{scheme}:{}/{name}", scratch.display())
}

/// Opens a store that the parent process created.
pub(crate) fn open(scratch: &Path, scheme: &str, name: &str) -> Store {
    lock_any::open_with(url(scratch, scheme, name), OpenMode::Open).expect("the store is there")
}

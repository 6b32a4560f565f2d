//! Where everything is that a run makes, and that nothing of it is left: at the end, after a panic, and when it is interrupted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lock_any::{OpenMode, Store};
use nix::sys::signal::{SigSet, Signal};
use tempfile::TempDir;

use crate::sys;

/// A directory in memory, where there is such a place, and what is to be removed beside it.
pub(crate) struct Scratch {
    path: PathBuf,
    directory: Mutex<Option<TempDir>>,
    elsewhere: Mutex<Vec<Elsewhere>>,
}

/// What is not in the directory.
enum Elsewhere {
    /// A store with a set of semaphores.
    Store(String),
    /// A set of semaphores.
    Set(i32),
}

impl Scratch {
    /// A fresh one; from now on, SIGINT, SIGTERM and SIGHUP end the program after it is removed.
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

    /// A new store in it.
    pub(crate) fn create(&self, scheme: &str, name: &str, options: &str) -> Store {
        let url = url(&self.path, scheme, name);
        if scheme == "sem" {
            self.remember(Elsewhere::Store(url.clone()));
        }
        lock_any::create(&format!("{url}{options}")).expect("a store can be made")
    }

    /// A set of one semaphore with the value 1.
    pub(crate) fn semaphore_set(&self) -> sys::Set {
        let set = sys::Set::new();
        self.remember(Elsewhere::Set(set.id()));
        set
    }

    fn remember(&self, what: Elsewhere) {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// Removes everything. What is not there any more needs no removing.
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

/// Opens a store that the parent has made.
pub(crate) fn open(scratch: &Path, scheme: &str, name: &str) -> Store {
    lock_any::open_with(&url(scratch, scheme, name), OpenMode::Open).expect("the store is there")
}

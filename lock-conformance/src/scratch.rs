use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError, Weak};

use tempfile::TempDir;

/// The directory of a case, removed at its end.
pub(crate) struct Scratch {
    dir: PathBuf,
    _root: Arc<TempDir>,
}

impl Scratch {
    /// A new, empty directory on tmpfs where there is one.
    pub(crate) fn new() -> io::Result<Self> {
        let root = root()?;
        // Short: it becomes part of names that are limited.
        let dir = tempfile::Builder::new().prefix("c").rand_bytes(4).tempdir_in(root.path())?.keep();
        Ok(Self { dir, _root: root })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("lock-conformance: {} could not be removed: {error}", self.dir.display());
        }
    }
}

/// The directory that all cases of this run share, for as long as one of them runs.
fn root() -> io::Result<Arc<TempDir>> {
    static ROOT: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut root = ROOT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(root) = root.upgrade() {
        return Ok(root);
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix("lock-conformance-").rand_bytes(6);
    let made = Arc::new(builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())?);
    *root = Arc::downgrade(&made);
    Ok(made)
}

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError, Weak};

use tempfile::TempDir;

/// Prefix of the names of directories that a run creates in shared memory.
pub(crate) const SCRATCH_PREFIX: &str = "lock-conformance-";

/// The directory of a case, which is removed on drop.
pub(crate) struct Scratch {
    dir: PathBuf,
    root: Arc<TempDir>,
}

impl Scratch {
    /// Creates an empty directory, on tmpfs if available.
    pub(crate) fn new() -> io::Result<Self> {
        let root = root()?;
        // The name is short because it becomes part of names of limited length.
        let dir = tempfile::Builder::new().prefix("c").rand_bytes(4).tempdir_in(root.path())?.keep();
        Ok(Self { dir, root })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Lets every user access the directory's entries by name, but not list them.
    pub(crate) fn let_users_through(&self) -> io::Result<()> {
        for dir in [self.root.path(), &self.dir] {
            fs::set_permissions(dir, Permissions::from_mode(0o711))?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("lock-conformance: {} could not be removed: {error}", self.dir.display());
        }
    }
}

/// Returns the common parent directory of all cases of this run, which exists while a case runs.
fn root() -> io::Result<Arc<TempDir>> {
    static ROOT: Mutex<Weak<TempDir>> = Mutex::new(Weak::new());
    let mut root = ROOT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(root) = root.upgrade() {
        return Ok(root);
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(SCRATCH_PREFIX).rand_bytes(6);
    let made = Arc::new(builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())?);
    *root = Arc::downgrade(&made);
    Ok(made)
}

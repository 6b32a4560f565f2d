use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary directory for one store: in `$TMPDIR` if that is set, otherwise in `/dev/shm`.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("lock-fuzz-");
        let directory = match std::env::var_os("TMPDIR") {
            Some(_) => builder.tempdir(),
            None => builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()),
        };
        Self(directory.expect("a temporary directory can be created"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path().join("store")
    }
}

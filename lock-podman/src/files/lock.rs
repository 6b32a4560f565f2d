use std::path::PathBuf;

use lock_core::{Acquired, Deadline, Error, HeldBy, Holder, Proof, RawLock, Result};

use super::{inspect, read_only};

/// A lock on a file of podman, which is never acquired.
#[derive(Debug)]
pub(super) struct FileLock {
    file: PathBuf,
}

impl FileLock {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file }
    }
}

impl RawLock for FileLock {
    fn acquire(&self, _deadline: Deadline) -> Result<Acquired> {
        Err(read_only())
    }

    fn release(&self, _proof: Proof) -> Result<()> {
        Err(Error::lost())
    }

    fn holder(&self) -> Result<Option<Holder>> {
        Ok(self.held_by().holder().cloned())
    }

    fn held_by(&self) -> HeldBy {
        inspect::held_by(&self.file)
            .unwrap_or_else(|error| HeldBy::unknown(format!("{} cannot be examined: {error}", self.file.display())))
    }
}

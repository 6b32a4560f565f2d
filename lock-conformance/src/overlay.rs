use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The directories of an overlay mount.
pub(crate) struct Layers {
    lower: PathBuf,
    pub(crate) upper: PathBuf,
    work: PathBuf,
    /// The mount point.
    pub(crate) merged: PathBuf,
}

impl Layers {
    /// Creates the directories in this directory.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let layers =
            Self { lower: dir.join("lower"), upper: dir.join("upper"), work: dir.join("work"), merged: dir.join("merged") };
        [&layers.lower, &layers.upper, &layers.work, &layers.merged].into_iter().try_for_each(fs::create_dir)?;
        Ok(layers)
    }

    /// Returns the mount options.
    pub(crate) fn options(&self) -> String {
        format!("lowerdir={},upperdir={},workdir={}", self.lower.display(), self.upper.display(), self.work.display())
    }
}

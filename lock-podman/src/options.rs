use lock_core::{Options, Result, StoreUrl};
use lock_table::FileOwner;
use lock_table::filesystem::Accept;

use crate::layout::{MOST_LOCKS, rounded};

/// The options of a store's URL.
#[derive(Debug)]
pub(crate) struct SegmentOptions {
    /// The number of locks, a multiple of 32.
    pub(crate) locks: Option<u32>,
    /// A trusted owner of the file, in addition to the caller and root.
    pub(crate) owner: Option<FileOwner>,
    /// The accepted file systems.
    pub(crate) filesystem: Accept,
}

impl SegmentOptions {
    /// Takes the options.
    ///
    /// # Errors
    /// [`ErrorKind::BadUrl`](lock_core::ErrorKind::BadUrl).
    pub(crate) fn take(url: &StoreUrl, options: &mut Options<'_>) -> Result<Self> {
        let locks = match options.take::<u32>("locks")? {
            Some(locks) if locks == 0 || locks > MOST_LOCKS => {
                return Err(url.error(format!("the option locks={locks}: give a number from 1 to {MOST_LOCKS}")));
            }
            locks => locks.map(rounded),
        };
        let (owner, filesystem) = (options.take("owner")?, options.take("filesystem")?.unwrap_or_default());
        Ok(Self { locks, owner, filesystem })
    }
}

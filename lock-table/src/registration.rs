//! The entry of this process in a table.

use crate::liveness::Liveness;
use crate::owner::Owner;

/// The entry of this process in a table.
#[derive(Debug)]
pub(crate) struct Registration {
    /// The process as an owner without a thread.
    pub(crate) owner: Owner,
    pub(crate) _liveness: Liveness,
}

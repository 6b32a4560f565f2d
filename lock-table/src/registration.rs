use crate::liveness::Liveness;
use crate::owner::Owner;

/// The entry of this process in a table, with the liveness lock that protects it.
#[derive(Debug)]
pub(crate) struct Registration {
    /// The process as an owner without a thread.
    pub(crate) owner: Owner,
    pub(crate) _liveness: Liveness,
}

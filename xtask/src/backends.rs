//! The backends that sweeps and storms run on.

use lock_any::{Backend, Exclusion};

use crate::Result;

/// Returns the backends of this machine, or the one with the scheme. The others need a server; `cargo xtask faults` is for them.
pub(crate) fn local(scheme: Option<&str>) -> Result<Vec<Backend>> {
    let mut backends = lock_any::backends()?;
    backends.retain(|backend| backend.capabilities().exclusion == Exclusion::Always);
    backends.retain(|backend| scheme.is_none_or(|scheme| scheme == backend.scheme()));
    if backends.is_empty() {
        return Err("no linked backend of this machine has this scheme".into());
    }
    Ok(backends)
}

//! The environment variables of the command that describe the lock.

use lock_any::Guard;

use crate::output;

/// The number of the lock.
const ID: &str = "LOCKCTL_ID";
/// The fencing token of the acquisition, in a store that has them.
const TOKEN: &str = "LOCKCTL_TOKEN";
/// The report of an earlier owner's death.
const RECOVERED: &str = "LOCKCTL_RECOVERED";

/// The variables of a command, with their values; `None` for a variable to remove.
pub(super) type Variables = [(&'static str, Option<String>); 3];

/// Returns the variables of a command under the lock of a path, which hide those of an outer run.
pub(super) fn of_path() -> Variables {
    [(ID, None), (TOKEN, None), (RECOVERED, None)]
}

/// Returns the variables of a command under this lock of a store.
pub(super) fn variables(guard: &Guard<'_>, recovered: Option<&str>) -> Variables {
    [
        (ID, Some(guard.lock().id().to_string())),
        (TOKEN, guard.token().map(|token| token.to_string())),
        (RECOVERED, recovered.map(|text| output::escaped(text).into_owned())),
    ]
}

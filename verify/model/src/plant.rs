//! The switch for planted bugs, in a copy of the sources that contains them. See `cargo xtask model --planted`.

use std::cell::Cell;

thread_local! {
    static NAME: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Returns whether this bug is switched on in the calling thread.
#[allow(dead_code, reason = "only a copy with planted bugs calls it")]
pub(crate) fn is(name: &str) -> bool {
    NAME.get().is_some_and(|planted| planted == name)
}

/// Runs a closure with a planted bug switched on.
pub fn with<T>(name: &'static str, run: impl FnOnce() -> T) -> T {
    NAME.set(Some(name));
    let result = run();
    NAME.set(None);
    result
}

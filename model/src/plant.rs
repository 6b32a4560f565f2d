//! Which of the [planted bugs](crate::PLANTED) is switched on.

use std::cell::Cell;

thread_local! {
    static NAME: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Asked by the copies.
pub(crate) fn is(name: &str) -> bool {
    NAME.get().is_some_and(|planted| planted == name)
}

/// Switches one on, or none.
pub(crate) fn set(name: Option<&'static str>) {
    NAME.set(name);
}
